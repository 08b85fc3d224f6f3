"""What pairs of a kernel cost: an estimate, from how many numbers go in and out."""

from __future__ import annotations

from taskfmm.cost.counts import Weights
from taskfmm.kernels.kernel import Kernel, Source
from taskfmm.kernels.pairs import is_mutual

DISTANCE, NUMBER, ROW = 0.58, 0.12, 0.3
"""Parts of a pair: the distance, each number of a source, and each row that a formula gives; 1 is a pair of charges
and the potential of 1 / r. Loops of this library take 0.7 to 1.5 times as much."""


def weights(kernel: Kernel, output: str) -> Weights:
    """Of pairs in an evaluation of an output and those before it, for the sources of a kernel."""
    has_derivative = bool(kernel.output(output).derivative)
    plain = _pair((Source("charge"),), 4 if has_derivative else 1, 0.0)
    rows, onto = kernel.n_components(output), kernel.columns * kernel.n_potential
    near = _pair(kernel.sources, rows, kernel.extra) / plain
    expansion = kernel.expansion or kernel
    return Weights(
        suffix="_gradient" if has_derivative else "",
        near_one=near,
        is_mutual=is_mutual(kernel.n_numbers, rows),
        # numbers on surfaces are counted, of which a point may have several
        to_surface=_pair(kernel.onto_surfaces, onto, expansion.extra) / kernel.n_potential,
        from_surface=_pair((kernel.dense,), rows, expansion.extra) / plain / kernel.n_charge,
    )


def _pair(kinds: tuple[Source, ...], rows: int, extra: float) -> float:
    return DISTANCE + extra + sum(NUMBER * kind.n_numbers + ROW * rows for kind in kinds)
