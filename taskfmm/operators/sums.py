"""Squared errors of sources, by sets of targets and by how many derivatives an output is."""

from __future__ import annotations

import numpy as np

from taskfmm.kernels import Kernel

POTENTIAL, GRADIENT = "potential", "gradient"
"""Outputs without a derivative, and all others. Each number of derivatives is a unit of its own, so the others are
taken apart by it, and the worst of them counts."""

Errors = dict[str, np.ndarray]
"""By output, the largest relative error of any source, for each set of targets."""


class Sums:
    """Sums of squares over each set of targets, [n_sets, n_sources], of outputs by how many derivatives they are.

    ptr : int64 [n_sets + 1], where sets begin among the targets
    least : by derivatives, of each source, a square that what is exact at a target counts as in the mean, at least
    """

    def __init__(self, kernel: Kernel, ptr: np.ndarray, least: dict[int, np.ndarray] | None) -> None:
        order = [output.derivative for output in kernel.outputs for _ in range(output.n_rows)]
        self.rows = {d: slice(order.index(d), order.index(d) + order.count(d)) for d in order}
        self.ptr = ptr
        self.least = least
        self.wrong = {d: np.zeros((ptr.size - 1, 1)) for d in self.rows}
        self.size = {d: np.zeros((ptr.size - 1, 1)) for d in self.rows}
        self.n_targets = np.zeros((ptr.size - 1, 1))

    @property
    def derived(self) -> list[int]:
        """The numbers of derivatives that there are, without 0."""
        return [d for d in self.rows if d]

    def add(self, found: np.ndarray, exact: np.ndarray) -> None:
        """Values [n_components, n_targets, n_sources]."""
        self.n_targets += np.diff(self.ptr)[:, None]
        wrong = found - exact
        for d, rows in self.rows.items():
            self.wrong[d] = self.wrong[d] + self._squares(wrong[rows])
            self.size[d] = self.size[d] + self._squares(exact[rows])

    def _squares(self, values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(np.einsum("cts,cts->ts", values, values), self.ptr[:-1], axis=0)

    def worst(self) -> Errors:
        """The largest relative error of any source; 0 of derivatives that the kernel does not have."""
        none = np.zeros(self.ptr.size - 1)
        return {
            POTENTIAL: self._errors(0),
            GRADIENT: np.max([none, *(self._errors(d) for d in self.derived)], axis=0),
        }

    def _errors(self, derivatives: int) -> np.ndarray:
        return np.sqrt(ratio(self.wrong[derivatives], self.seen(derivatives))).max(axis=1)

    def seen(self, derivatives: int) -> np.ndarray:
        """What errors are relative to, squared."""
        if self.least is None:
            return self.size[derivatives]
        return np.maximum(self.size[derivatives], self.n_targets * self.least[derivatives])


def ratio(wrong: np.ndarray, size: np.ndarray) -> np.ndarray:
    """0 where nothing is wrong, of whatever size."""
    return np.divide(wrong, size, where=wrong > 0.0, out=np.zeros_like(wrong))
