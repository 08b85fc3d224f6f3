"""Pictures that measure: the error against eps, and seconds against the number of points, of points of your own; the
operators of a profile beside their forecast.

They need the extra ``viz``, and return the `matplotlib.axes.Axes` in which they have drawn; ``ax`` names others than
new ones. The numbers are those of their lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from taskfmm import bounds, choices, validate
from taskfmm.direct_sum import direct
from taskfmm.errors import InputError
from taskfmm.fmm import Fmm
from taskfmm.forecast import evaluations
from taskfmm.kernels import find
from taskfmm.live import picture
from taskfmm.live.table import TaskForecast, of_records
from taskfmm.live.task_forecasts import task_forecasts
from taskfmm.report.axes import axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from taskfmm.profiling.profile import profile

SIZE = (6.4, 4.4)
"""Inches of a picture."""

FEWEST, N_SIZES = 1000, 7
"""Points of the smallest size, and sizes, where none are given."""

MOST_PAIRS = 4 * 10**8
"""Of a direct sum that is timed, where no other number is given."""

OF_DIRECT = ("kernel", "box", "periodic", "wrap", "surroundings")
"""Options of a plan that the direct sum has as well."""


def error(
    sources: Any,
    charges: Any,
    eps: Sequence[float] | float = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10),
    outputs: Sequence[str] | str | None = None,
    n_samples: int = 1000,
    seed: int | None = None,
    ax: Axes | None = None,
    **options: Any,
) -> Axes:
    """Draw the relative l2 error of evaluations against the eps asked for, with a line where they are equal.

    Parameters
    ----------
    sources : array_like, real, (n, 3)
    charges : array_like, real, (n,), or (n, numbers) where a source has several
        Of the kernel's first kind of source.
    eps : sequence of float, or one
        One plan is made for each.
    outputs : sequence of the kernel's outputs; the first one, if left out
    n_samples, seed : int
        As for `taskfmm.Fmm.error_estimate`, which measures the errors.
    ax : matplotlib.axes.Axes, optional
    **options
        As for `taskfmm.Fmm`, for example ``targets`` and ``kernel``.

    Returns
    -------
    matplotlib.axes.Axes
        A line for each output, with its name as label, after the line of eps itself.

    Raises
    ------
    ImportError
        Matplotlib is missing: ``pip install "taskfmm[viz]"``.
    InputError, AccuracyError
        As `taskfmm.Fmm`; an eps below what can be reached is one.

    Examples
    --------
    >>> import numpy as np, taskfmm
    >>> rng = np.random.default_rng(1729)
    >>> ax = taskfmm.plots.error(rng.random((20_000, 3)), rng.uniform(-1, 1, 20_000), eps=[1e-2, 1e-4])
    >>> eps, errors = ax.lines[1].get_data()
    >>> bool((errors < eps).all())
    True
    """
    known = find(options.get("kernel", "laplace")).names
    asked = sorted(map(choices.eps, eps if isinstance(eps, Iterable) else [eps]))
    names = known[:1] if outputs is None else choices.outputs(outputs, known)
    if not asked:
        raise InputError("eps is empty: give one number or more, for example [1e-3, 1e-6]")
    found: dict[str, list[float]] = {name: [] for name in names}
    for each in asked:
        fmm = Fmm(sources, eps=each, **options)
        for name in names:
            values = fmm.evaluate(charges, name)[name]
            found[name].append(fmm.error_estimate(charges, values, n_samples, seed, name))
    drawn = axes(ax, SIZE)
    drawn.loglog(asked, asked, "--", color="0.5", label="eps")
    for name, errors in found.items():
        drawn.loglog(asked, errors, "o-", label=name)
    drawn.set_xlabel("eps")
    drawn.set_ylabel("relative l2 error")
    return _framed(drawn)


def scaling(
    sources: Any,
    charges: Any,
    sizes: Sequence[int] | None = None,
    output: str | None = None,
    repeats: int = 3,
    most_pairs: int = MOST_PAIRS,
    seed: int | None = None,
    ax: Axes | None = None,
    **options: Any,
) -> Axes:
    """Draw seconds of a plan, of an evaluation on it, and of the direct sum, against the number of points.

    Each size is so many random ones of your points, so that you see from how many of them on a plan pays.

    Parameters
    ----------
    sources : array_like, real, (n, 3)
    charges : array_like, real, (n,), or (n, numbers) where a source has several
        Of the kernel's first kind of source.
    sizes : sequence of int, at most n; seven from 1000 to n, if left out
    output : str, an output of the kernel; the first one, if left out
    repeats : int
        The median of so many counts, after a first time, which compiles loops and makes operators.
    most_pairs : int
        Direct sums of more pairs are left out.
    seed : int, optional
        Of the random points.
    ax : matplotlib.axes.Axes, optional
    **options
        As for `taskfmm.Fmm`, but for ``targets``: they are the sources.

    Returns
    -------
    matplotlib.axes.Axes
        Lines "plan", "evaluation" and "direct sum": points, and seconds on the scheduler in use.

    Raises
    ------
    ImportError
        Matplotlib is missing: ``pip install "taskfmm[viz]"``.
    InputError
        As `taskfmm.Fmm`; also sizes that are not from 1 to n, and targets.

    Examples
    --------
    >>> import numpy as np, taskfmm
    >>> rng = np.random.default_rng(1729)
    >>> x, q = rng.random((4000, 3)), rng.uniform(-1, 1, 4000)
    >>> ax = taskfmm.plots.scaling(x, q, sizes=[1000, 4000], eps=1e-3, repeats=1)
    >>> [line.get_label() for line in ax.lines]
    ['plan', 'evaluation', 'direct sum']
    """
    if options.get("targets") is not None:
        raise InputError("targets were given, but here the sources are the targets: leave them out")
    points = validate.points("sources", sources)
    known = find(options.get("kernel", "laplace")).names
    name = known[0] if output is None else choices.output(output, known)
    wanted = _sizes(sizes, len(points))
    order = choices.generator(seed).permutation(len(points))
    q, of_direct = np.asarray(charges), {key: options[key] for key in OF_DIRECT if key in options}
    found: dict[str, list[tuple[int, float]]] = {"plan": [], "evaluation": [], "direct sum": []}
    for n in wanted:
        x, some = points[order[:n]], q[order[:n]]
        fmm = Fmm(x, **options)
        calls: dict[str, Callable[[], Any]] = {
            "plan": lambda x=x: Fmm(x, **options),  # type: ignore[misc]
            "evaluation": lambda fmm=fmm, some=some: fmm.evaluate(some, name)[name].compute(),  # type: ignore[misc]
        }
        if n * n <= most_pairs:
            calls["direct sum"] = lambda x=x, some=some: direct(x, some, outputs=name, **of_direct)  # type: ignore[misc]
        for what, call in calls.items():
            found[what].append((n, _seconds(call, repeats)))
    drawn = axes(ax, SIZE)
    for what, rows in found.items():
        if rows:
            drawn.loglog(*zip(*rows, strict=True), "o-", label=what)
    drawn.set_xlabel("points")
    drawn.set_ylabel("seconds")
    return _framed(drawn)


def operators(profile: profile, ax: Axes | None = None) -> Axes:
    """Draw the seconds of each operator on each level, beside the forecast of the same tasks.

    It is what `taskfmm.dashboard` shows, of a profile and afterwards, so it needs neither a cluster nor a browser.

    Parameters
    ----------
    profile : taskfmm.profile
        Of evaluations that were made in this process, and whose plans still exist; other tasks have no forecast.
        Evaluate once before it, as first tasks also read or compile loops and read operators.
    ax : matplotlib.axes.Axes, optional
        Of a figure with ``layout="constrained"``, which leaves room for the words around them.

    Returns
    -------
    matplotlib.axes.Axes
        A bar for each operator and level, below it the forecast on the scheduler in use now, a mark at what the tasks
        would take at the best rates of a core of this machine, which are measured now, in half a second; and what a
        task did, in pairs of points and floating-point operations of matrix products.

    Raises
    ------
    ImportError
        Matplotlib is missing: ``pip install "taskfmm[viz]"``.
    InputError
        No profile.

    Examples
    --------
    >>> import numpy as np, taskfmm
    >>> rng = np.random.default_rng(1729)
    >>> fmm = taskfmm.Fmm(rng.random((4000, 3)), eps=1e-3)
    >>> with taskfmm.profile() as prof:
    ...     values = fmm.potential(rng.uniform(-1, 1, 4000)).compute()
    >>> ax = taskfmm.plots.operators(prof)
    >>> [label.get_text() for label in ax.get_yticklabels()][:2]
    ['charges', 'P2M, level 2']
    """
    if not hasattr(profile, "tasks"):
        raise InputError(
            f"profile is {type(profile).__name__}, expected a taskfmm.profile: evaluate within one, as in "
            "`with taskfmm.profile() as prof: phi.compute()`"
        )
    found = {record.evaluation for record in profile.tasks}
    best = bounds.measure() if found else None
    forecasts: dict[str, dict[tuple, TaskForecast]] = {evaluation: {} for evaluation in found}
    for evaluation, of_tasks in forecasts.items():
        for one in evaluations.forecasts(evaluation):
            of_tasks |= task_forecasts(one, best)
    return picture.draw(of_records(profile.tasks, forecasts, best.as_rates() if best else {}), ax)


def _sizes(sizes: Sequence[int] | None, n: int) -> list[int]:
    if sizes is None:
        return sorted({*np.geomspace(min(FEWEST, n), n, N_SIZES).astype(int).tolist()})
    found = sorted(int(size) for size in sizes)
    if not found or found[0] < 1 or found[-1] > n:
        raise InputError(f"sizes are {list(sizes)}: give one or more from 1 to {n}, the number of points")
    return found


def _seconds(call: Callable[[], Any], repeats: int) -> float:
    """The median of some calls after a first one."""
    took = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        call()
        took.append(time.perf_counter() - started)
    return median(took[1:])


def _framed(drawn: Axes) -> Axes:
    drawn.grid(True, alpha=0.3)
    drawn.legend(frameon=False)
    return drawn
