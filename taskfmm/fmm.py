"""Fmm, the user's one object: plan once, evaluate many charges."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import dask.array as da
import numpy as np

from taskfmm import validate
from taskfmm.direct_sum import direct
from taskfmm.errors import AccuracyError, InputError
from taskfmm.geometry import morton
from taskfmm.graph import build as graph_build
from taskfmm.graph import reference
from taskfmm.graph.forecast import Forecast, forecast
from taskfmm.graph.spec import Graph, lazy
from taskfmm.kernels import KERNELS
from taskfmm.operators.accuracy import Accuracy, choose
from taskfmm.operators.levels import Operators, load
from taskfmm.passes import result, serial
from taskfmm.plan import plan as planner
from taskfmm.plan import saved, tune
from taskfmm.runtime import cluster, layout, memory
from taskfmm.runtime.once import say_once
from taskfmm.runtime.progress import announce_compilation
from taskfmm.runtime.threads import budget
from taskfmm.tree import lists, octree
from taskfmm.version import __version__

FEW_POINTS = 300_000
"""Up to here a plan takes a tenth of a second on one thread, less than compiling the parallel loops."""


CROWDED = (
    "%d points share a leaf, and leaf_size is %d: they coincide, or lie too close together for boxes of the deepest "
    "level, %d. Unless all of them coincide, the near field among them takes time as the square of their number"
)


class Fmm:
    """A fast multipole method for fixed sources and targets.

    Making one builds the octree, its lists, the operators and the shards. After that any number of charge
    vectors can be evaluated; each evaluation is a lazy Dask graph.

    Parameters
    ----------
    sources : array_like, real, (n, 3)
        Positions, in the caller's unit of length.
    targets : array_like, real, (m, 3), optional
        Where to evaluate; the sources, if left out. A pair at zero distance adds nothing.
    kernel : str
        "laplace": ``phi_j = sum_i q_i / (4 pi |x_j - y_i|)``, in units of charge / length.
    eps : float
        The relative l2 error asked for, over all targets, of every output.
    order : int, optional
        Points per edge of the equivalent surfaces; overrides what ``eps`` chooses.
    leaf_size : int, optional
        Most sources, and most targets, in a leaf; chosen for speed if left out. Boxes are at most 42 levels deep,
        2e-13 of the width of the cloud: points closer together than that, or in the same place, share a leaf
        however many they are. `explain` tells how many, and the log once.
    dtype : float64 or float32
        Of the results. The work is done in float64 wherever eps needs it.
    memory_limit : int or str, optional
        Bytes that a process which runs tasks may hold, as a number or like "8GiB". What would need more is
        refused, before planning if the number of points says so, else when an evaluation is asked for.

    Raises
    ------
    InputError
        Shapes, dtypes or values that do not fit; the message says what to change.
    MemoryLimitError
        So many points cannot be planned and evaluated within ``memory_limit``.
    AccuracyError
        An eps below what can be reached; the message names the floor.

    Notes
    -----
    The kernel-independent FMM of Ying, Biros and Zorin, J. Comput. Phys. 196 (2004) 591-626.

    Coordinates and charges may have any size that a float64 has. Two points closer than 1e-37 of the width of the
    cloud count as one, so that the pair adds nothing. A charge less than 1e-300 of the largest may count as zero.
    A result too large for ``dtype`` is infinite, with NumPy's warning, and one too small is subnormal or zero.

    Examples
    --------
    >>> import numpy as np, taskfmm
    >>> rng = np.random.default_rng(1729)
    >>> x, q = rng.random((2000, 3)), rng.uniform(-1, 1, 2000)
    >>> fmm = taskfmm.Fmm(x, eps=1e-6)
    >>> phi = fmm.potential(q)
    >>> phi
    dask.array<potential, shape=(2000,), dtype=float64, chunksize=(2000,), chunktype=numpy.ndarray>
    >>> fmm.error_estimate(q, phi) < 1e-6
    True
    """

    def __init__(
        self,
        sources: Any,
        targets: Any = None,
        kernel: str = "laplace",
        eps: float = 1e-6,
        order: int | None = None,
        leaf_size: int | None = None,
        dtype: Any = np.float64,
        memory_limit: int | str | None = None,
    ) -> None:
        self.kernel = KERNELS[validate.kernel(kernel, KERNELS)]
        self.dtype = validate.dtype(dtype)
        self.eps = validate.eps(eps)
        self.order = validate.order(order)
        self.memory_limit = memory.parse_limit(memory_limit)
        memory.refuse_hopeless(self.memory_limit, sources, targets)
        self._forecasts: dict[tuple[tuple[str, ...], layout.Layout], Forecast] = {}
        self._chosen: dict[str, Accuracy] = {}
        self._stored: dict[str, Operators] = {}
        self.accuracy("potential")
        self.sources = validate.points("sources", sources)
        self.targets = self.sources if targets is None else validate.points("targets", targets)
        self.leaf_size = validate.leaf_size(leaf_size)
        announce_compilation()
        self.plan = self._make_plan(targets is None) if len(self.sources) and len(self.targets) else None
        self._digest = self._identify()

    def _make_plan(self, self_targets: bool) -> planner.Plan:
        with budget() as threads:
            operators = self.operators("potential").at(0)
            points = (self.sources, None if self_targets else self.targets)
            threads = threads if len(self.sources) + len(self.targets) > FEW_POINTS else 1
            self.leaf_size, domain = tune.choose(*points, operators, self.leaf_size, threads)
            tree = octree.build(*points, self.leaf_size, domain, threads)
            if tree.fullest > self.leaf_size:
                say_once(CROWDED, tree.fullest, self.leaf_size, morton.MAX_LEVEL)
            found = lists.build(tree, threads)
            if not self.kernel.counts_itself:
                found = planner.without_coincident(tree, found)
            return planner.build(tree, found, operators)

    def accuracy(self, output: str) -> Accuracy:
        """What was chosen to reach eps for "potential", or for "gradient", which needs more.

        Raises
        ------
        AccuracyError
            eps is below the floor of this output.
        """
        if output not in self._chosen:
            tree = self.plan.tree if output == "gradient" and self.plan else None
            self._chosen[output] = choose(self.kernel, self.eps, output, self.dtype, self.order, tree)
        return self._chosen[output]

    def operators(self, output: str) -> Operators:
        """The matrices of `accuracy`: those of the file that this plan was loaded from, or of this machine."""
        return self._stored.get(output) or load(self.kernel.name, self.accuracy(output))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole plan into an HDF5 file: points, tree, keys, lists, operators, shards.

        Parameters
        ----------
        path : path
            What was there before is replaced, once the new file is whole and on the disk.

        Raises
        ------
        StorageError
            The file cannot be written; nothing was changed.

        Examples
        --------
        >>> import os, tempfile, numpy as np, taskfmm
        >>> fmm = taskfmm.Fmm(np.random.default_rng(8191).random((500, 3)))
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     fmm.save(os.path.join(directory, "plan.h5"))
        ...     again = taskfmm.Fmm.load(os.path.join(directory, "plan.h5"))
        >>> bool(np.all(again.potential(np.ones(500)).compute() == fmm.potential(np.ones(500)).compute()))
        True
        """
        with suppress(AccuracyError):
            self.accuracy("gradient")
        saved.save(
            path,
            saved.Saved(
                self.kernel,
                self.eps,
                self.order,
                self.leaf_size,
                self.dtype.name,
                self.sources,
                None if self.targets is self.sources else self.targets,
                dict(self._chosen),
                {output: self.operators(output) for output in self._chosen} if self.plan else {},
                self.plan,
            ),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str], memory_limit: int | str | None = None) -> Fmm:
        """A plan that `save` wrote. It gives the same results, bit for bit, as the one that was saved.

        Arrays are mapped, not read: replace or remove the file while it is in use, but do not write into it. Files
        may come from anywhere; nothing in them is unpickled or evaluated, and every index is checked.

        Parameters
        ----------
        path : path
        memory_limit : int or str, optional
            As for `Fmm`.

        Raises
        ------
        StorageError
            The file is not there, no plan, of another version of taskfmm, cut short or changed.
        InputError
            It holds what no plan can be.

        Examples
        --------
        >>> fmm = taskfmm.Fmm.load("plan.h5")  # doctest: +SKIP
        """
        limit = memory.parse_limit(memory_limit)
        announce_compilation()
        found = saved.load(path)
        fmm = cls.__new__(cls)
        try:
            fmm.kernel, fmm.dtype, fmm.eps = (
                found.kernel,
                validate.dtype(found.dtype),
                validate.eps(found.eps),
            )
            fmm.order, fmm.leaf_size = validate.order(found.order), validate.leaf_size(found.leaf_size)
            fmm.sources = validate.points("sources", found.sources)
            fmm.targets = fmm.sources if found.targets is None else validate.points("targets", found.targets)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        fmm.memory_limit, fmm.plan, fmm._forecasts = limit, found.plan, {}
        fmm._chosen, fmm._stored = dict(found.accuracy), dict(found.operators)
        fmm._digest = fmm._identify()
        return fmm

    def _identify(self) -> str:
        """Names the plan: what decides its results, the chosen leaves and cube among it."""
        digest = hashlib.sha256()
        cube = self.plan and self.plan.tree.domain.half_width
        facts = (
            __version__,
            self.kernel.name,
            self.dtype.str,
            self.leaf_size,
            cube,
            self.accuracy("potential"),
        )
        digest.update(repr(facts).encode())
        digest.update(self.sources.data)
        if self.targets is not self.sources:
            digest.update(self.targets.data)
        return digest.hexdigest()[:24]

    def potential(self, charges: Any) -> da.Array:
        """The potential at every target, as a lazy array.

        Parameters
        ----------
        charges : array_like or dask.array, real, (n_sources,)
            In the caller's order of the sources.

        Returns
        -------
        dask.array, dtype [n_targets]
            In the caller's order of the targets. Nothing is computed yet.

        Raises
        ------
        InputError
            A length or dtype that does not fit, or a value that is not finite (at ``compute`` for a dask.array).

        Examples
        --------
        >>> import taskfmm
        >>> fmm = taskfmm.Fmm([[0, 0, 0], [0, 0, 2]])
        >>> 4 * np.pi * fmm.potential([1.0, 3.0]).compute()
        array([1.5, 0.5])
        """
        return self.evaluate(charges, ("potential",))["potential"]

    def evaluate(
        self, charges: Any, outputs: Sequence[str] | str = ("potential", "gradient")
    ) -> dict[str, da.Array]:
        """Potential and gradient at every target, as lazy arrays that share their tasks.

        Parameters
        ----------
        charges : array_like or dask.array, real, (n_sources,)
        outputs : sequence of "potential" and "gradient"
            What is not asked for is not computed.

        Returns
        -------
        dict of dask.array
            "potential" [n_targets]; "gradient" [n_targets, 3], with respect to the target. Compute both in one
            pass with ``dask.compute``.

        Raises
        ------
        InputError
            As `potential`; also an unknown output.
        AccuracyError
            A gradient was asked for, and eps is below its floor at these points.
        MemoryLimitError
            More memory would be needed than ``memory_limit``, or the smallest worker of the active distributed
            client, allows.

        Notes
        -----
        The error of a gradient is relative to gradients. They are hard where no two points are close, as on a
        regular grid, and where all targets lie apart from all sources, as a gradient is a small difference of
        large potentials then: `accuracy` takes this into account. Charges that cancel at a distance have a
        potential there, and a gradient, which is small beside its parts; the error is relative to the parts.

        Examples
        --------
        >>> import dask, taskfmm
        >>> fmm = taskfmm.Fmm([[0, 0, 0], [0, 0, 2]])
        >>> out, = dask.compute(fmm.evaluate([1.0, 0.0], ("gradient",)))
        >>> 4 * np.pi * out["gradient"]
        array([[ 0.  ,  0.  ,  0.  ],
               [ 0.  ,  0.  , -0.25]])
        """
        wanted = validate.outputs(outputs)
        q = validate.charges(charges, len(self.sources), self.dtype)
        if self.plan is None:
            shapes = {"potential": (len(self.targets),), "gradient": (len(self.targets), 3)}
            return {output: da.zeros(shapes[output], dtype=self.dtype) for output in wanted}
        self._prepare(wanted)
        graph, chunks = self._graph(self.plan, q, wanted)
        return {
            output: lazy(graph, name, (sizes, (3,)) if output == "gradient" else (sizes,), self.dtype)
            for output, (name, sizes) in chunks.items()
        }

    def _graph(
        self, plan: planner.Plan, charges: Any, wanted: Sequence[str]
    ) -> tuple[Graph, dict[str, tuple[str, tuple[int, ...]]]]:
        mode = "gradient" if "gradient" in wanted else "potential"
        return graph_build.build(
            plan,
            self._works,
            self.kernel.name,
            self.accuracy(mode),
            charges,
            wanted,
            plan.tree.domain.scale,
            self.dtype,
            self._token(charges, mode),
        )

    @cached_property
    def _works(self) -> reference.Shelf:
        """What tasks refer to; shared by all evaluations, so that other processes read it once."""
        assert self.plan is not None
        return graph_build.works(self.plan, self._stored, self._chosen)

    def _token(self, charges: Any, mode: str) -> str:
        digest = hashlib.sha256(f"{self._digest} {mode} {self.accuracy(mode)}".encode())
        digest.update(charges.name.encode() if isinstance(charges, da.Array) else charges.data)
        return digest.hexdigest()[:24]

    def forecast(self, outputs: Sequence[str] | str = ("potential",)) -> Forecast:
        """What one evaluation would take on the scheduler in use: its graph, seconds and memory.

        Parameters
        ----------
        outputs : sequence of "potential" and "gradient"

        Returns
        -------
        taskfmm.graph.forecast.Forecast

        Raises
        ------
        InputError
            An unknown output, or a plan without points, of which there is nothing to tell.
        AccuracyError
            As `evaluate`.

        Examples
        --------
        >>> import numpy as np, taskfmm
        >>> fmm = taskfmm.Fmm(np.random.default_rng(271).random((1000, 3)))
        >>> fmm.forecast().memory["peak"] < 2**31
        True
        """
        wanted = validate.outputs(outputs)
        if self.plan is None:
            raise InputError("there are no sources or no targets: every output is zero, without any task")
        at = layout.current()
        if (wanted, at) not in self._forecasts:
            operators = self.operators("gradient" if "gradient" in wanted else "potential")
            graph, _ = self._graph(self.plan, np.zeros(len(self.sources)), wanted)
            self._forecasts[wanted, at] = forecast(
                self.plan, graph, operators, self.kernel, wanted, self.dtype, at
            )
        return self._forecasts[wanted, at].refreshed

    def _prepare(self, wanted: tuple[str, ...]) -> None:
        """Arrange with the scheduler in use what an evaluation needs, or refuse what does not fit there."""
        client = cluster.active_client()
        if client is not None:
            reference.release()
            cluster.prepare(client, lambda: self.forecast(wanted).work)
        at = layout.current()
        if self.memory_limit is not None:
            found = self.forecast(wanted).memory
            advice = "ask for fewer outputs, give fewer points or a higher memory_limit"
            memory.refuse(found, self.memory_limit, "memory_limit", advice)
        if at.memory_limit:
            found = self.forecast(wanted).memory
            advice = "use more workers, or give them more memory"
            memory.refuse(found, at.memory_limit, "the limit of the smallest worker", advice)

    def serial(self, charges: Any, output: str = "potential") -> np.ndarray:
        """The same result, bit for bit, by plain function calls in this thread: for reading and debugging."""
        (wanted,) = validate.outputs((output,))
        q = validate.charges(charges, len(self.sources), self.dtype)
        plan, operators = self.plan, self.operators(wanted)
        if plan is None:
            return np.zeros((len(self.targets), 3) if wanted == "gradient" else len(self.targets), self.dtype)
        with budget() as threads:
            q = np.asarray(q, np.float64)
            exponent = result.exponent(q)
            sorted_charges = result.normalized(q[plan.tree.source_order], exponent)[None, :]
            values = serial.evaluate(plan, operators, self.kernel, sorted_charges, wanted, threads)
            return result.gather(plan, values, self.kernel, wanted, self.dtype, exponent)

    def error_estimate(self, charges: Any, phi: Any, n_samples: int = 1000, seed: int | None = None) -> float:
        """The relative l2 error of a potential, measured against the direct sum at random targets.

        Parameters
        ----------
        charges : array_like or dask.array, real, (n_sources,)
        phi : array_like or dask.array, (n_targets,)
            What `potential` gave for these charges; computed here if it is lazy.
        n_samples : int
            Targets drawn without replacement; all of them if there are fewer.
        seed : int, optional
            Of the draw.

        Returns
        -------
        float
            ``|phi - exact| / |exact|`` over the sample; 0 if both are zero or there are no targets.

        Raises
        ------
        InputError
            Lengths that do not fit.
        """
        found = np.asarray(phi, np.float64)
        if found.shape != (len(self.targets),):
            raise InputError(
                f"phi has shape {found.shape}, expected ({len(self.targets)},): give a potential"
            )
        rng = np.random.default_rng(seed)
        rows = rng.choice(found.size, min(int(n_samples), found.size), replace=False)
        exact = np.asarray(direct(self.sources, np.asarray(charges), self.targets[rows], self.kernel.name))
        wrong = float(np.linalg.norm(found[rows] - exact))
        return wrong / float(np.linalg.norm(exact)) if wrong else 0.0

    def explain(self, outputs: Sequence[str] | str = ("potential",)) -> str:
        """What was planned, and what an evaluation of these outputs will take, as text.

        Boxes by level, list sizes, operators; tasks, edges and bytes of the graph; the critical path; seconds
        and peak memory on the scheduler in use. `taskfmm.explain.facts` gives the same as data.
        """
        from taskfmm.explain import explain

        return explain(self, outputs)

    def visualize(self, filename: str | None = None, outputs: Sequence[str] | str = ("potential",)) -> Any:
        """Draw the graph of an evaluation: a node for each operator and level, coloured by operator.

        Upward on the left, M2L across, downward on the right. The area of a node is its expected seconds, the
        width of a line the bytes that move along it.

        Parameters
        ----------
        filename : str, optional
            Where to write the picture, in any format that Matplotlib knows.
        outputs : sequence of "potential" and "gradient"

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            Matplotlib is missing: ``pip install "taskfmm[viz]"``.
        InputError
            As `forecast`.
        """
        from taskfmm.graph.drawing import draw

        return draw(self.forecast(outputs), filename)

    def _repr_html_(self) -> str:
        from taskfmm.explain import html

        return html(self)

    def __repr__(self) -> str:
        targets = "the sources" if self.targets is self.sources else f"{len(self.targets):,} targets"
        chosen = self.accuracy("potential")
        return (
            f"<taskfmm.Fmm: {len(self.sources):,} sources, {targets}, kernel {self.kernel.name}, "
            f"eps {self.eps:g}, order {chosen.order}, leaf size {self.leaf_size}, {self.dtype}>"
        )
