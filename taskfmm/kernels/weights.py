"""What pairs of a kernel cost: an estimate, from how many numbers go in and out."""

from __future__ import annotations

from collections.abc import Sequence

from taskfmm.cost.counts import Weights
from taskfmm.kernels.kernel import CHARGE, GRADIENT, POTENTIAL, Kernel, Source
from taskfmm.kernels.pairs import is_mutual

DISTANCE, NUMBER, ROW = 0.58, 0.12, 0.3
"""Parts of a pair: the distance, each number of a source, and each row that a formula gives; 1 is a pair of charges
and the potential of 1 / r. Loops of this library take 0.7 to 1.5 times as much."""


def weights(kernel: Kernel, output: str) -> Weights:
    """Of pairs in an evaluation of an output and those before it, for the sources of a kernel."""
    rows, expansion = kernel.n_components(output), kernel.expansion or kernel
    near, near_one, near_two = _of_pairs(kernel.kinds, rows, kernel.extra)
    surface, from_surface, _ = _of_pairs(kernel.vectors * (kernel.dense,), rows, expansion.extra)
    onto = kernel.vectors * kernel.onto_surfaces
    to_surface = _pair(onto, kernel.of_one.columns * kernel.n_potential, expansion.extra)
    return Weights(
        near=near,
        near_one=near_one,
        near_two=near_two,
        is_mutual=is_mutual(kernel.vectors * kernel.n_numbers, kernel.vectors * rows),
        surface=surface,
        # numbers on surfaces are counted, of which a point may have several
        to_surface=to_surface / kernel.n_potential,
        from_surface=from_surface / kernel.n_charge,
    )


def _of_pairs(kinds: Sequence[Source], rows: int, extra: float) -> tuple[str, float, float]:
    """What names the rates, and the weights of pairs that serve one side, or both.

    The gradient of a charge has rates of its own: it takes less than its rows would have it.
    """
    one, numbers = extra == 0.0 and len(kinds) == 1, sum(kind.n_numbers for kind in kinds)
    if one and numbers == CHARGE.n_numbers and rows == POTENTIAL.n_rows + GRADIENT.n_rows:
        return "_gradient", 1.0, 1.0
    return "", _pair(kinds, rows, extra), _pair(kinds, rows, extra, 2) / _pair((CHARGE,), 1, 0.0, 2)


def _pair(kinds: Sequence[Source], rows: int, extra: float, sides: int = 1) -> float:
    return DISTANCE + extra + sides * sum(NUMBER * kind.n_numbers + ROW * rows for kind in kinds)
