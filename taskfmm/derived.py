"""What is made of a plan: its matrix, and plans for its points in other places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from taskfmm.evaluation import Evaluator
from taskfmm.field import Field
from taskfmm.kernels import Kernel
from taskfmm.passes.given import Given
from taskfmm.plan.planned import Planned
from taskfmm.planning import beside, elsewhere

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


class Derived:
    """Methods of `taskfmm.Fmm`."""

    kernel: Kernel
    memory_limit: int | None
    _planned: Planned
    _evaluator: Evaluator

    def _hold(self, planned: Planned, memory_limit: int | None, root: Evaluator | None = None) -> None:
        raise NotImplementedError

    def _given(self, charges: Any, others: dict[str, Any], lazy: bool = False) -> Given:
        raise NotImplementedError

    def _wanted(self, outputs: Sequence[str] | str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
        raise NotImplementedError

    def as_linear_operator(
        self, output: str | None = None, source: str | None = None, like: Any = None
    ) -> LinearOperator:
        """The matrix of this plan, for the solvers of SciPy.

        Parameters
        ----------
        output : str
            The kernel's first, if left out. Rows are its numbers at each target, those of one target side by side.
        source : str
            An argument of `evaluate`, as "charges" or "dipoles"; the kernel's first, if left out. Columns are its
            numbers, those of one source side by side.
        like : array_like, optional
            Sources that those of the products will resemble, as for `Fmm`. Without, vectors are taken for lazy ones:
            eps is kept for a single charge and for equal ones.

        Returns
        -------
        scipy.sparse.linalg.LinearOperator, (n_targets * rows, n_sources * numbers)
            Of the dtype of the output; its ``accuracy`` is chosen now, for all products. They are linear, but for
            rounding, and the same vector gives the same bits, as solvers need it. ``matmat`` takes up to eight
            columns at once. A matrix of few pairs is multiplied in this thread, a larger one by the scheduler in use.
            ``rmatvec`` and ``rmatmat`` are the adjoint, to within eps: the same sums with sources and targets
            exchanged, for which targets apart from the sources are planned when it is first asked for.

        Raises
        ------
        InputError
            An unknown output or source; ``like`` does not fit. Of products: a value that is not finite; in a
            periodic box, charges that do not add up to zero. Of the adjoint: the kernel has no source and output
            that are the transpose of these, as for second derivatives, or softening hangs on the sources.
        AccuracyError
            eps is below the floor of this output.

        Examples
        --------
        >>> import numpy as np, taskfmm
        >>> from scipy.sparse.linalg import LinearOperator, gmres
        >>> x = np.random.default_rng(1729).random((500, 3))
        >>> matrix = taskfmm.Fmm(x, eps=1e-8).as_linear_operator()
        >>> shifted = LinearOperator(matrix.shape, lambda charges: 50 * charges + matrix @ charges)
        >>> charges, info = gmres(shifted, np.ones(500), rtol=1e-6)
        >>> info, bool(np.linalg.norm(shifted @ charges - 1) < 1e-6 * 500**0.5)
        (0, True)
        """
        from taskfmm.linear_operator import PlanOperator, of_evaluator

        return PlanOperator(of_evaluator(self._evaluator, self.memory_limit), output, source, like)

    def at(self, targets: Any, like: Any = None) -> Self:
        """The field of these sources at other targets.

        The tree of the sources, its operators and its multipoles are those of this plan: only lists and shards of the
        targets are made. So many sets of targets, as slices, probes or streamlines, cost little more than what is
        evaluated there. Charges that are evaluated at several of them at once, by ``dask.compute``, go upward once;
        for what is evaluated one after the other, `field` keeps their multipoles.

        Parameters
        ----------
        targets : array_like, real, (m, 3)
            In the unit of the sources. They may be anywhere, also outside the cube of the sources and far away; in a
            periodic box they are moved into it. Those of this plan count no more.
        like : array_like, optional
            As of `Fmm`. It is to be given again: which accuracy charges need hangs on the targets.

        Returns
        -------
        Fmm
            With the same sources, kernel, eps or order, dtype and box, and all that an `Fmm` does, but for `save`:
            save this plan. eps is the relative error over the new targets. Of a result of ``at``, ``at`` has the same
            sources. Where this plan is a direct sum, or targets are 1e12 widths of the smallest leaf away, it is a
            plan of its own, which shares nothing.

        Raises
        ------
        InputError
            As of `Fmm`.

        Examples
        --------
        >>> import numpy as np, taskfmm
        >>> rng = np.random.default_rng(1729)
        >>> x, q = rng.random((5000, 3)), rng.uniform(-1, 1, 5000)
        >>> fmm = taskfmm.Fmm(x, eps=1e-4)
        >>> for z in 0.5, 2.0:
        ...     plane = np.column_stack([rng.random((1000, 2)), np.full(1000, z)])
        ...     probe = fmm.at(plane)
        ...     phi = probe.potential(q)
        ...     print(phi.shape, probe.error_estimate(q, phi) < 1e-4)
        (1000,) True
        (1000,) True
        """
        root = self._evaluator.root
        found = beside(root.planned, targets, self.memory_limit, like)
        at = type(self).__new__(type(self))
        at._hold(found, self.memory_limit, root)
        return at

    def field(self, charges: Any = None, outputs: Sequence[str] | str | None = None, **others: Any) -> Field:
        """Charges and their multipoles, kept for evaluations at many sets of targets, one after the other.

        It is given in the place of charges, to this plan and to all that `at` makes of it. Multipoles are computed
        now, with the scheduler in use, and stay in its memory as long as this object does, on a cluster as futures;
        ``nbytes`` tells how much that is.

        Parameters
        ----------
        charges, **others
            As of `evaluate`.
        outputs : sequence of the kernel's outputs
            Those that will be evaluated, which decide the accuracy of the multipoles; as of `evaluate`, if left out.

        Returns
        -------
        Field
            With ``accuracy``, ``nbytes`` and ``outputs``, and a copy of the charges, unless these are lazy. The
            accuracy is what targets like those of this plan need; results of `at` have this method, too. Where others
            ask for a higher one, as those far from charges that cancel may, multipoles are computed again for them:
            eps is kept at all targets. Of a direct sum nothing is kept but the charges.

        Raises
        ------
        InputError, AccuracyError, MemoryLimitError
            As `evaluate`.

        Examples
        --------
        >>> import numpy as np, taskfmm
        >>> rng = np.random.default_rng(1729)
        >>> x, q = rng.random((5000, 3)), rng.uniform(-1, 1, 5000)
        >>> fmm = taskfmm.Fmm(x, eps=1e-4)
        >>> field = fmm.field(q, "potential")
        >>> steps = [fmm.at(rng.random((1000, 3))).potential(field).compute() for _ in range(3)]
        """
        given = self._given(charges, others, lazy=True)
        wanted = self._wanted(outputs, self.kernel.usual)
        return Field(self._evaluator, given, wanted, self.memory_limit)

    def moved(self, sources: Any = None, targets: Any = None, like: Any = None) -> Self:
        """A plan for the same points in other places, as after a step in time.

        The size of leaves and how wide the cube is are those of this plan: to choose them is half of planning or
        more. All else is made anew, so eps is kept wherever the points are. Where they are crowded in other places
        than before, a new `Fmm` chooses leaves that take less time.

        Parameters
        ----------
        sources, targets : array_like, real, (n, 3), optional
            As many as there are, in their order; what is left out stays where it is. No targets where these are the
            sources.
        like : array_like, optional
            As of `Fmm`. It is to be given again: which accuracy charges need hangs on where they are.

        Returns
        -------
        Fmm
            Another one, with the same kernel, eps or order, dtype and box; charges and softening keep their order.
            This one is as it was.

        Raises
        ------
        InputError
            Another number of points, or as of `Fmm`.

        Examples
        --------
        >>> import numpy as np, taskfmm
        >>> rng = np.random.default_rng(1729)
        >>> x, q = rng.random((5000, 3)), rng.uniform(-1, 1, 5000)
        >>> fmm = taskfmm.Fmm(x, eps=1e-3)
        >>> for _ in range(2):
        ...     x += 1e-3 * fmm.evaluate(q, "gradient")["gradient"].compute()
        ...     fmm = fmm.moved(x)
        """
        moved = type(self).__new__(type(self))
        found = elsewhere(self._planned, sources, targets, self.memory_limit, like)
        moved._hold(found, self.memory_limit)
        return moved
