"""Plans of points that never meet in one process.

Planning is a sequence of stages, each a task for every chunk or every region (`taskfmm.spread.stages`). What a stage
leaves lies in files that all workers can read; this process holds the units, the numbers of shards, and which task
reads which: nothing that grows with points or boxes.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np

from taskfmm import choices, foreign, kernels, validate
from taskfmm.errors import AccuracyError, InputError
from taskfmm.graph import reference
from taskfmm.kernels import Kernel
from taskfmm.operators.levels import UNIT, Operators
from taskfmm.passes.given import AT_ONCE, Given, of_kind
from taskfmm.plan import cost
from taskfmm.plan.planned import Asked
from taskfmm.plan.regional import How
from taskfmm.runtime import cluster
from taskfmm.spread import lengths, room
from taskfmm.spread.choosing import Chooser
from taskfmm.spread.chunks import Piece
from taskfmm.spread.depot import Depot
from taskfmm.spread.evaluation import Spread
from taskfmm.spread.making import UNITS, Stages
from taskfmm.tree.lists import TOP_LEVEL

FULLEST = 6
"""Units may have so many times the square of the order in points: then boxes above them have more than a surface."""

CHUNK = 2**20
"""Rows of a chunk of points that come as an array."""

SECONDS = 1e-6
"""Of an evaluation for each point, about: shards are cut by it."""

LONGEST_TASK = 0.5
"""Seconds of a task, at most, unless there are too many. Messages about a task and the file that it opens take
several milliseconds: 1e7 points on two processes took 5 to 7 % less time with tasks of 0.2 s than with those of 0.1 s
that are best for threads; in clusters, whose tasks are short on many levels, 3 % less. 5e7 points have tasks of
0.5 s; there shorter ones were not tried."""

MOST_TASKS = 5000
"""From about so many tasks of an operator on, they become longer instead of more: one scheduler has all of them."""


def seconds_of_task(n_points: int) -> float:
    """What a shard should cost."""
    seconds = n_points * SECONDS
    return cost.task(seconds, max(LONGEST_TASK, seconds / MOST_TASKS))


def from_dask(
    sources: Any,
    targets: Any = None,
    kernel: str | Kernel = "laplace",
    eps: float = 1e-6,
    order: int | None = None,
    leaf_size: int | None = None,
    dtype: Any = np.float64,
    region: int | None = None,
    like: Any = None,
    columns: int = 1,
) -> Spread:
    """Plan for points that no process holds all of.

    Tasks on the scheduler in use sort the points, build the tree in parts, and write down the work of each part.
    It lies in a directory that all workers see, or with each worker where there is none, and is removed with the
    plan. This process holds nothing that grows with the number of points.

    Parameters
    ----------
    sources, targets : dask.array, real, (n, 3)
        In chunks of known lengths. Each chunk is computed once. No targets where these are the sources; NumPy arrays
        do for one of them.
    kernel : str or Kernel
        Of softened sources the lengths may be a dask.array as well, in any chunks, which stays lazy. No box is then
        narrower than the longest of all lengths, or than as far as it reaches at eps: where few sources are softened
        much more widely than others, the near field is larger than that of `taskfmm.Fmm`.
    eps, order, leaf_size, dtype, columns
        As of `taskfmm.Fmm`. The first gradient of Laplace's kernel looks at all points once.
    region : int, optional
        Points that one task may hold, about. If left out, a million, or a half, a quarter, an eighth or a sixteenth
        of it, as the memory of the smallest worker allows for each of its threads; more of billions of points. Last
        digits hang on it.
    like : dask.array or array_like, (n,), optional
        As of `taskfmm.Fmm`, for kernels with a table of errors.

    Returns
    -------
    taskfmm.spread.Spread
        With the methods ``potential``, ``evaluate``, ``accuracy`` and ``error_estimate`` of `taskfmm.Fmm`, and with
        ``forecast``, ``explain`` and ``facts`` on what an evaluation takes. Results have the chunks of the targets.

    Raises
    ------
    InputError
        What cannot be planned so, or a point that is not finite, with its row and its chunk.
    AccuracyError
        As `taskfmm.Fmm`.
    MemoryLimitError
        The smallest worker has no memory for a small region, for the one asked for, or for a chunk.
    StorageError
        The directory cannot be written, or has no room, or a file in it was damaged.
    LostWorkersError
        Workers died again and again with one task, as when there is not enough memory.

    Examples
    --------
    >>> import dask.array as da, taskfmm
    >>> rng = np.random.default_rng(1729)
    >>> x, q = da.from_array(rng.random((4000, 3)), chunks=(1000, 3)), rng.uniform(-1, 1, 4000)
    >>> taskfmm.Fmm.from_dask(x, eps=1e-3).potential(q)
    dask.array<potential, shape=(4000,), dtype=float64, chunksize=(1000,), chunktype=numpy.ndarray>
    """
    given = kernels.find(kernel)
    asked = Asked(given.without_lengths, choices.dtype(dtype), choices.eps(eps), choices.order(order))
    size, wanted = choices.leaf_size(leaf_size), choices.region(region)
    arrays = {"sources": _checked("sources", sources)}
    if targets is not None:
        arrays["targets"] = _checked("targets", targets)
        foreign.same_unit(sources, targets)
    shown = None if like is None else _like(asked, like, arrays["sources"].shape[0])
    pieces = Piece.of({name: tuple(map(int, array.chunks[0])) for name, array in arrays.items()})
    softened = lengths.of_pieces(given, pieces)
    if not all(array.shape[0] for array in arrays.values()):
        return Spread(given, asked, size, None, pieces)
    reference.release()
    accuracy = asked.any_accuracy()
    if targets is not None and asked.calibrated(asked.first):
        accuracy = asked.accuracy(asked.first, None)
    evaluated = None
    with contextlib.suppress(AccuracyError):  # charges of an array may need less
        if asked.chosen or asked.calibrated(asked.first):
            evaluated = asked.accuracy(asked.first, None)
    sizes, operators = [piece.n for piece in pieces], Operators(asked.kernel, accuracy)
    if client := cluster.active_client():
        cluster.prepare(client, lambda: sum(sizes) * SECONDS)
        from taskfmm.spread.hosts import await_worker

        await_worker(client)
    space = room.of_workers(sum(sizes), max(sizes), wanted, operators, given.softening is not None)
    stage = Stages(Depot(), pieces, space)
    priced = asked.kernel.with_vectors(min(AT_ONCE, choices.columns(columns)))
    task, counts_itself = seconds_of_task(stage.n), asked.kernel.counts_itself
    chunks = [arrays[piece.name][piece.first : piece.first + piece.n] for piece in pieces]
    try:
        domain, cells, reach = stage.look(chunks, softened, asked)
        top = TOP_LEVEL if given.degree is not None else stage.top_level(asked, domain, cells)
        if not (asked.chosen or asked.calibrated(asked.first)):
            accuracy = asked.accuracy(asked.first, None, half_width=domain.half_width, top=top)
        operators = Operators(asked.kernel, accuracy, UNIT if given.degree is not None else domain.half_width)
        how = How(task, top, priced.columns, cost.first(priced), counts_itself)
        if size is None:
            size, domain = stage.choose(domain, cells, operators, how, reach)
        cap = max(2 * size, space.region // UNITS, FULLEST * accuracy.order**2)
        deepest = lengths.deepest_level(reach, domain)
        found = stage.regions(domain, size, cap, not counts_itself, deepest)
        n_levels = stage.balance(found)
        how = replace(how, top=max(TOP_LEVEL, min(top, n_levels - 1)))
        plan = stage.works(domain, found, operators, how, evaluated or accuracy, n_levels)
        plan = replace(plan, chosen=leaf_size is None)
        known = None
        if shown is not None:
            known = Chooser(asked, plan).look(Given(asked.kernel.of_first, (shown,)), asked.kernel.usual[-1])
    except BaseException:
        stage.depot.published.remove()
        raise
    return Spread(given, asked, size, plan, pieces, known)


def of_arguments(given: dict[str, Any]) -> Spread:
    """As `taskfmm.Fmm` is called, where sources or targets are a dask.array; given : its arguments by name"""
    for name in ("memory_limit", "box"):
        if (value := given.pop(name, None)) is not None:
            raise InputError(
                f"{name} is {value!r}, which is not there yet for points of a dask.array: give the points to "
                "taskfmm.Fmm as an array, as x.compute() is"
            )
    for of_a_box in ("periodic", "wrap", "surroundings"):
        given.pop(of_a_box, None)
    return from_dask(**given)


def _like(asked: Asked, like: Any, n_sources: int) -> Any:
    """Charges that others will resemble, checked."""
    kind = asked.kernel.sources[0]
    if not asked.calibrated(asked.first):
        raise InputError(
            f"like is given, which is not there yet for kernel {asked.kernel.name} where points are dask.arrays"
        )
    shown = of_kind(kind, like, n_sources, "like", lazy=True)
    validate.of_numbers("like", shown.dtype, np.dtype(float))
    return shown


def _checked(name: str, points: Any) -> da.Array:
    """Points of a dask.array, or of any other array, in chunks of known lengths."""
    array = foreign.dask_array(name, points)
    if array is None:
        found = validate.points(name, points)
        # a copy, as the caller may fill his array anew before the plan is made
        return da.from_array(found.copy(), chunks=(CHUNK, 3))
    validate.point_shape(name, array.shape)
    if np.isnan(array.shape[0]):
        raise InputError(
            f"{name} has chunks of unknown lengths: {name}.compute_chunk_sizes() finds them, and {name}.compute() is "
            "an array"
        )
    return array.rechunk({1: -1})
