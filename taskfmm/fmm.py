"""Fmm, the user's one object: plan once, evaluate many charges."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import dask.array as da
import numpy as np

from taskfmm import choices, foreign, spread, validate
from taskfmm.derived import Derived
from taskfmm.direct_sum import sampled_error
from taskfmm.errors import InputError
from taskfmm.evaluation import Evaluator, chunked_as
from taskfmm.field import Field
from taskfmm.geometry.periodic import checked
from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.levels import Matrices
from taskfmm.passes.given import Given, whole
from taskfmm.plan.planned import Planned
from taskfmm.planning import from_points
from taskfmm.report.described import Described
from taskfmm.report.stored import Stored
from taskfmm.runtime import memory
from taskfmm.runtime.threads import one_blas_thread


class Fmm(Described, Stored, Derived):
    """A fast multipole method for fixed sources and targets.

    Making one builds the octree, its lists, the operators and the shards. After that any number of charge
    vectors can be evaluated; each evaluation is a lazy Dask graph.

    Parameters
    ----------
    sources : array_like or dask.array, real, (n, 3)
        Positions, in the caller's unit of length. They may change afterwards: the plan has its own. Points of a
        dask.array, also if only the targets are one, are never gathered: `from_dask` plans them, in tasks, and what
        is returned is its `taskfmm.spread.Spread`. If they fit into memory, `x.compute()` is planned sooner.
    targets : array_like, real, (m, 3), optional
        Where to evaluate; the sources, if left out. A pair at zero distance adds nothing. Of arrays that carry a
        unit, as those of astropy, unyt, pint and xarray may, sources and targets must carry the same one.
    kernel : str or taskfmm.kernels.Kernel
        "laplace": ``phi_j = sum_i q_i / (4 pi |x_j - y_i|)``, in units of charge / length; or
        `taskfmm.kernels.Yukawa`, `taskfmm.kernels.BiotSavart`, `taskfmm.kernels.Stokes`, or one of your own, see
        `taskfmm.kernels.register`.
    eps : float
        The relative l2 error asked for, over all targets, of every output.
    order : int, optional
        Points per edge of the equivalent surfaces; overrides what ``eps`` chooses.
    leaf_size : int, optional
        Most sources, and most targets, in a leaf; chosen for speed if left out, and None where the sum over all pairs
        costs less than any tree, so that it is taken: it is exact. Boxes are at most 42 levels deep,
        2e-13 of the width of the cloud: points closer together than that, or in the same place, share a leaf
        however many they are. `explain` tells how many, and the log once.
    dtype : float64 or float32
        Of the results. With float32 the work is done in float32 as well where eps is 1e-5 or more, the kernel has a
        degree and the charges allow it, which `accuracy` tells; else in float64.
    memory_limit : int or str, optional
        Bytes that a process which runs tasks may hold, as a number or like "8GiB". What would need more is
        refused, before planning if the number of points or eps says so, else when an evaluation is asked for.
    like : array_like, real, (n,), or (n, numbers) where a source of the first kind has several, optional
        Charges that those of a lazy array will resemble: as unequal, and cancelling as much at the targets. Without,
        lazy charges are taken for a single one that outweighs all others and for equal ones, which costs time, and
        does not cover charges of both signs that cancel. Charges of a NumPy array are looked at themselves.
    columns : int
        Vectors of charges that most evaluations will have, see `evaluate`: leaves are chosen for so many at once.
    box : three floats, or one for a cube, optional
        Sides of a periodic box along x, y and z, in the unit of the points: sources act with all their images, and
        charges have to add up to zero. Sides in the ratio of small integers, of at most 64 cubes. Kernels are
        "laplace" and, along all three axes, `taskfmm.kernels.Stokes`.
    periodic : bool, or three of them
        Along which axes the box is repeated; the side along another one may be None.
    wrap : bool
        Whether points outside the box are moved into it by whole sides, and `sources` are the moved points. They are
        only where they do not fit into a box that begins elsewhere. If False, points outside the box that begins at
        0 are refused.
    surroundings : str
        What is around all images of a box that is periodic along three axes: a "conductor", as in Ewald's sum, or
        "vacuum", which adds the potential x . D / (3 V) of the dipole moment D, with x from the middle of the box.

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

    Coordinates and charges may have any size that a float64 has. A source and a target in different places must be
    at least 1e-37 of the width of the cloud apart, else they are refused: the loops cannot tell them apart. A
    charge less than 1e-300 of the largest may count as zero. A result too large for ``dtype`` is infinite, with
    NumPy's warning, and one too small is subnormal or zero.

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

    def __new__(cls, sources: Any = None, targets: Any = None, *args: Any, **options: Any) -> Any:
        """A `taskfmm.spread.Spread` where points are a dask.array."""
        if foreign.dask_array("sources", sources) is None and foreign.dask_array("targets", targets) is None:
            return super().__new__(cls)
        given = inspect.signature(cls.__init__).bind(None, sources, targets, *args, **options).arguments
        return spread.of_arguments({name: value for name, value in given.items() if name != "self"})

    def __init__(
        self,
        sources: Any,
        targets: Any = None,
        kernel: str | Kernel = "laplace",
        eps: float = 1e-6,
        order: int | None = None,
        leaf_size: int | None = None,
        dtype: Any = np.float64,
        memory_limit: int | str | None = None,
        like: Any = None,
        columns: int = 1,
        box: Any = None,
        periodic: Any = True,
        wrap: bool = True,
        surroundings: str = "conductor",
    ) -> None:
        limit = memory.parse_limit(memory_limit)
        planned = from_points(
            *(sources, targets, kernel, eps, order, leaf_size, dtype, limit, like, columns),
            checked(box, periodic, wrap, surroundings, sources),
        )
        self._hold(planned, limit)

    from_dask = staticmethod(spread.from_dask)

    def _hold(self, planned: Planned, memory_limit: int | None, root: Evaluator | None = None) -> None:
        asked = planned.asked
        self.kernel, self.dtype, self.eps, self.order = planned.kernel, asked.dtype, asked.eps, asked.order
        self.leaf_size, self.plan, self.box = planned.leaf_size, planned.plan, asked.box
        self.n_sources, self.n_targets, self.separate = planned.n_sources, planned.n_targets, not planned.same
        self.memory_limit = memory_limit
        self._planned = planned
        self._evaluator = Evaluator(planned, root)

    @cached_property
    def sources(self) -> np.ndarray:
        """The plan's own sources, float64 [n, 3], as they were given; found when first asked for, and then kept."""
        return _read_only(self._planned.sources)

    @cached_property
    def targets(self) -> np.ndarray:
        """As `sources`, and the same array where the targets are the sources."""
        return _read_only(self._planned.targets) if self.separate else self.sources

    def accuracy(self, output: str, charges: Any = None, **others: Any) -> Accuracy:
        """What is chosen to reach eps for an output alone: more for a gradient than for a potential.

        Parameters
        ----------
        output : str, an output of the kernel
        charges : array_like or dask.array, real, optional
            As for `evaluate`. Left out: charges that are all equal, or those that the plan was made ``like``; for
            kernels without a table of errors a single source.
        **others
            As for `evaluate`.

        Raises
        ------
        AccuracyError
            eps is below the floor of this output for these charges.
        """
        (wanted,) = choices.outputs((output,), self.kernel.names)
        given = None
        if charges is not None or others:
            given = self._given(charges, others, lazy=True)
        parts = [None] if given is None else [each for part in given.parts for each in part.columns]
        found = [self._evaluator.chooser.accuracy(wanted, part, alone=True) for part in parts]
        return max(found, key=lambda accuracy: accuracy.order)

    @one_blas_thread()
    def operators(self, output: str) -> Matrices:
        """The matrices of `accuracy`: those of the file that this plan was loaded from, or of this machine.

        None of any level for a direct sum.
        """
        return self._planned.matrices(self.accuracy(output))

    def potential(self, charges: Any = None, **others: Any) -> da.Array:
        """The potential at every target, as a lazy array.

        Parameters
        ----------
        charges : array_like or dask.array, real, (n_sources,)
            In the caller's order of the sources; copied, but for a dask.array, which stays lazy.
        **others
            As for `evaluate`.

        Returns
        -------
        dask.array, dtype [n_targets]
            In the caller's order of the targets. Nothing is computed yet.

        Raises
        ------
        InputError
            A length or dtype that does not fit, or a value that is not finite. Of a dask.array the declared shape
            and dtype are looked at now, each chunk at ``compute``. The kernel has no potential.

        Examples
        --------
        >>> import taskfmm
        >>> fmm = taskfmm.Fmm([[0, 0, 0], [0, 0, 2]])
        >>> 4 * np.pi * fmm.potential([1.0, 3.0]).compute()
        array([1.5, 0.5])
        """
        return self.evaluate(charges, ("potential",), **others)["potential"]

    def evaluate(
        self, charges: Any = None, outputs: Sequence[str] | str | None = None, **others: Any
    ) -> dict[str, da.Array]:
        """Outputs at every target, as lazy arrays that share their tasks.

        Parameters
        ----------
        charges : array_like or dask.array, (n_sources,), or (n_sources, numbers) where a source has several; or Field
            Of the kernel's first kind of source. Complex ones take two evaluations, unless the kernel is complex.
            With one more axis, (n_sources, k) or (n_sources, numbers, k), they are k vectors: outputs have the same
            last axis, and distances and operators serve up to eight vectors at once. Each vector has its own eps.
        outputs : sequence of the kernel's outputs, as "potential" and "gradient"
            What is not asked for is not computed. If left out, all of them but second derivatives.
        **others
            As ``charges``, of the kernel's other kinds of sources, each by the name of its argument.

        Returns
        -------
        dict of dask.array
            "potential" [n_targets]; "gradient" [n_targets, 3] and "hessian" [n_targets, 3, 3], with respect to the
            target; of k vectors each with a last axis of k. Compute several in one pass with ``dask.compute``.
            Results of a dask.array have its chunks along the vectors, and along the points if the targets are the
            sources.

        Raises
        ------
        InputError
            As `potential`; also an unknown output or kind of source.
        AccuracyError
            eps is below the floor of an output for these charges.
        MemoryLimitError
            More memory would be needed than ``memory_limit``, or the smallest worker of the active distributed
            client, allows.

        Notes
        -----
        How accurate the far field must be follows from the charges, if they are a NumPy array: more where one
        outweighs all others or charges cancel, less where close pairs make gradients large. A dask.array is not
        looked at: it gets what a single charge and equal charges need, or those of ``Fmm(..., like=charges)``. eps is
        not promised for lazy charges of both signs that cancel at the targets. `accuracy` tells what is chosen.

        Examples
        --------
        >>> import dask, taskfmm
        >>> fmm = taskfmm.Fmm([[0, 0, 0], [0, 0, 2]])
        >>> out, = dask.compute(fmm.evaluate([1.0, 0.0], ("gradient",)))
        >>> 4 * np.pi * out["gradient"]
        array([[ 0.  ,  0.  ,  0.  ],
               [ 0.  ,  0.  , -0.25]])
        """
        wanted = self._wanted(outputs, self.kernel.usual)
        given = self._given(charges, others, lazy=True)
        kept = charges._kept if isinstance(charges, Field) else None
        found = [self._evaluator.of_vectors(part, wanted, self.memory_limit, kept) for part in given.parts]
        results = {output: whole([part[output] for part in found]) for output in wanted}
        return {output: chunked_as(given, each, not self.separate) for output, each in results.items()}

    def serial(self, charges: Any = None, output: str | None = None, **others: Any) -> np.ndarray:
        """What `evaluate` gives for this output alone, bit for bit, by plain function calls in this thread.

        output : the kernel's first, if left out
        """
        wanted = self._one(output)
        given = self._given(charges, others)
        kept = charges._kept if isinstance(charges, Field) else None
        found = [self._evaluator.serial_of_vectors(part, wanted, kept) for part in given.parts]
        return np.asarray(whole(found))

    def error_estimate(
        self,
        charges: Any,
        values: Any,
        n_samples: int = 1000,
        seed: int | None = None,
        output: str | None = None,
        **others: Any,
    ) -> float:
        """The relative l2 error of a result, measured against the direct sum at random targets.

        Parameters
        ----------
        charges : array_like or dask.array, real, as for `evaluate`; None where only others are given
        values : array_like or dask.array, (n_targets,), of a gradient (n_targets, 3)
            What `evaluate` gave for these charges, with its axis of vectors if there is one; computed here if lazy.
        n_samples : int
            Targets drawn without replacement; all of them if there are fewer.
        seed : int, optional
            Of the draw.
        output : str
            What the values are; the kernel's first output, if left out.
        **others
            As for `evaluate`.

        Returns
        -------
        float
            ``|values - exact| / |exact|`` over the sample; 0 if both are zero or there are no targets. Where a few
            targets have most of the norm, as beside a charge that outweighs all others, a sample may miss them:
            then this is more than the error over all targets, which ``n_samples=n_targets`` gives. Of several vectors
            that of the worst, since each keeps eps by itself.

        Raises
        ------
        InputError
            Shapes or dtypes that do not fit, charges that are not finite, values that are NaN, an unknown output, no
            samples.

        Examples
        --------
        >>> import numpy as np, taskfmm
        >>> fmm = taskfmm.Fmm(np.random.default_rng(104729).random((500, 3)))
        >>> gradient = fmm.evaluate(np.ones(500), "gradient")["gradient"]
        >>> fmm.error_estimate(np.ones(500), gradient, output="gradient") < 1e-6
        True
        """
        of, most, rng = self._one(output), choices.n_samples(n_samples), choices.generator(seed)
        given = self._given(charges, others)
        out = self.kernel.output(of)
        is_complex = out.complex or len(given.parts) > 1
        dtype = np.dtype(np.complex128 if is_complex else np.float64)
        found = validate.values(values, self.n_targets, of, out.shape, dtype, given.vectors)
        sources = self._planned.sources
        targets = self._planned.targets if self.separate else sources
        return sampled_error(found, given, sources, targets, of, most, rng, self._planned.lengths, self.box)

    def _given(self, charges: Any, others: dict[str, Any], lazy: bool = False) -> Given:
        """What an evaluation is given, once it has been looked at."""
        asked = self._planned.asked
        if isinstance(charges, Field):
            if others:
                raise InputError(f"a field has all its sources, and {', '.join(others)} were given as well")
            return charges.of(self._evaluator)
        given = Given.checked(self._planned.summed, charges, others, self.n_sources, lazy)
        if asked.box is not None:
            given.refuse_charged()
        return given

    def _one(self, output: Any) -> str:
        """The name of one output, checked; the kernel's first, if left out."""
        return self.kernel.names[0] if output is None else choices.output(output, self.kernel.names)


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view
