"""What pairs of a kernel cost: an estimate, from how many numbers go in and out."""

from __future__ import annotations

from collections.abc import Sequence

from taskfmm.cost.counts import Weights
from taskfmm.kernels.kernel import CHARGE, GRADIENT, POTENTIAL, Kernel, Source
from taskfmm.kernels.pairs import is_mutual

DISTANCE, NUMBER, ROW = 0.58, 0.12, 0.3
"""Parts of a pair: the distance, each number of a source, and each row that a formula gives; 1 is a pair of charges
and the potential of 1 / r. Loops of this library take 0.7 to 1.5 times as much."""


FILLED, PRODUCT = 0.7, 0.1
"""Parts of a pair of many vectors: each number of a tile, and its product with one vector."""


def weights(kernel: Kernel, output: str) -> Weights:
    """Of pairs in an evaluation of an output and those before it, for the sources of a kernel."""
    rows, expansion, vectors = kernel.n_components(output), kernel.expansion or kernel, kernel.vectors
    near, near_one, near_two = _of_pairs(kernel.sources, rows, kernel.extra, vectors)
    surface, from_surface, _ = _of_pairs((kernel.dense,), rows, expansion.extra, vectors)
    onto = kernel.of_one.columns * kernel.n_potential
    to_surface = _pair(kernel.onto_surfaces, onto, expansion.extra, vectors=vectors)
    return Weights(
        near=near,
        near_one=near_one,
        near_two=near_two,
        is_mutual=vectors > 1 or is_mutual(kernel.n_numbers, rows),
        surface=surface,
        # numbers on surfaces are counted, of which a point may have several
        to_surface=to_surface / kernel.n_potential,
        from_surface=from_surface / kernel.n_charge,
    )


def _of_pairs(kinds: Sequence[Source], rows: int, extra: float, vectors: int) -> tuple[str, float, float]:
    """What names the rates, and the weights of pairs that serve one side, or both.

    The gradient of a charge has rates of its own: it takes less than its rows would have it.
    """
    one, numbers = extra == 0.0 and vectors == 1, sum(kind.n_numbers for kind in kinds)
    if one and numbers == CHARGE.n_numbers and rows == POTENTIAL.n_rows + GRADIENT.n_rows:
        return "_gradient", 1.0, 1.0
    two = _pair(kinds, rows, extra, 2, vectors) / _pair((CHARGE,), 1, 0.0, 2)
    return "", _pair(kinds, rows, extra, 1, vectors), two


def _pair(kinds: Sequence[Source], rows: int, extra: float, sides: int = 1, vectors: int = 1) -> float:
    if vectors == 1:
        return DISTANCE + extra + sides * sum(NUMBER * kind.n_numbers + ROW * rows for kind in kinds)
    tiles = rows * sum(kind.n_numbers for kind in kinds)
    return DISTANCE + extra + tiles * (FILLED + sides * vectors * PRODUCT)
