"""What is made of a plan: its matrix, and plans for its points in other places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from taskfmm.evaluation import Evaluator
from taskfmm.plan.planned import Planned
from taskfmm.planning import elsewhere

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


class Derived:
    """Methods of `taskfmm.Fmm`."""

    memory_limit: int | None
    _planned: Planned
    _evaluator: Evaluator

    def _hold(self, planned: Planned, memory_limit: int | None) -> None:
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
