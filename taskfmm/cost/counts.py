"""What the operators do, counted from sizes: how often each rate of `taskfmm.cost.rates` is paid.

Sizes are numbers, or arrays of them, and counts are the same: one call counts a task, or every box of a tree.
M2L counts its own products (`taskfmm.operators.m2l`), since each form of it does something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from taskfmm.cost.rates import SINGLE, Rates

Size = Any
"""A number, or an array of numbers."""

COMBINATIONS = 8
"""Of parities, between which coefficients are divided, see `taskfmm.operators.folding`."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How often each rate is paid, by the name of its field in `Rates`.

    shared : by loops that the Numba threads of a task divide among them
    alone : by what one thread does: copies and whole matrix products
    """

    shared: Mapping[str, Size] = field(default_factory=dict)
    alone: Mapping[str, Size] = field(default_factory=dict)

    def seconds(self, rates: Rates, at_once: float = 1.0) -> Size:
        """``at_once``: threads that share the loops."""
        return _price(self.shared, rates) / at_once + _price(self.alone, rates)


@dataclass(frozen=True, slots=True)
class Weights:
    """What pairs cost, over those of charges and the potential of 1 / r.

    near, surface : what names the rates of both, "_gradient" for those of charges and the gradient of 1 / r
    near_one, near_two : of a pair in the near field that serves one side, or both
    is_mutual : whether a pair can serve both; else it counts as two
    to_surface, from_surface : of a point and a number on a surface
    """

    near: str = ""
    near_one: float = 1.0
    near_two: float = 1.0
    is_mutual: bool = True
    surface: str = ""
    to_surface: float = 1.0
    from_surface: float = 1.0

    def mixed(self, other: Weights, part: float) -> Weights:
        """Of pairs of which a part are like others, and priced by the same rates."""
        names = ("near_one", "near_two", "to_surface", "from_surface")
        of_both = {name: (1.0 - part) * getattr(self, name) + part * getattr(other, name) for name in names}
        return replace(self, **of_both)

    def of(self, dtype: str) -> Weights:
        """The same of loops in a dtype; those in float32 serve one side."""
        if dtype == "float64":
            return self
        return replace(
            self,
            near_one=SINGLE * self.near_one,
            is_mutual=False,
            to_surface=SINGLE * self.to_surface,
            from_surface=SINGLE * self.from_surface,
        )


PLAIN = Weights()
"""Of charges and the potential of 1 / r."""


def _price(counts: Mapping[str, Size], rates: Rates) -> Size:
    return sum(getattr(rates, name) * count for name, count in counts.items())


def to_surfaces(
    n_points: Size,
    n_charges: Size,
    n_boxes: Size,
    n_rows: Size,
    n_surface: int,
    k: int,
    weights: Weights = PLAIN,
) -> Counts:
    """P2M and P2L.

    n_points : met by the boxes; n_charges : gathered for them, of each point once
    n_boxes : that receive something; n_rows : of the result
    n_surface, k : numbers on a check surface, and coefficients
    """
    return Counts(
        {"surface_pair": n_points * n_surface * weights.to_surface, "run": n_points, "row": n_boxes},
        {
            "multiply_add": n_boxes * (n_surface * k) / COMBINATIONS,
            "gathered": n_charges,
            "copied": n_boxes * (2 * n_surface + k) + n_rows * k,
        },
    )


def translation(n_entries: Size, n_halo: Size, n_rows: Size, of: int, k: int, n_added: Size = 0) -> Counts:
    """M2M and L2L, from ``of`` coefficients to k.

    n_entries : pairs of parent and child; n_halo, n_rows : expansions that are read, and that result
    n_added : expansions that arrive by other ways and are added
    """
    return Counts(
        {"multiply_add": n_entries * (of * k), "copied": n_entries * (of + 2 * k)},
        {"copied": n_halo * of + (n_rows + n_added) * k},
    )


def m2l(products: Mapping[str, Size], n_halo: Size, n_rows: Size, k: int) -> Counts:
    """M2L; products : what the form of M2L counts."""
    return Counts(products, {"copied": (n_halo + n_rows) * k})


def to_points(
    n_pairs: Size,
    n_targets: Size,
    n_rows: Size,
    n_halo: Size,
    n_surface: int,
    k: int,
    n_added: Size = 0,
    components: int = 1,
    weights: Weights = PLAIN,
) -> Counts:
    """L2P and M2P.

    n_pairs : of a target and a box; n_targets : of the task, in n_rows leaves
    n_halo : boxes, whose densities are found first
    n_surface, k : numbers on an equivalent surface, and coefficients
    n_added : targets to which values that arrive by other ways are added
    components : of the output
    """
    return Counts(
        {
            f"surface_pair{weights.surface}": n_pairs * n_surface * weights.from_surface,
            "run": n_pairs,
            "row": n_rows,
        },
        {
            "multiply_add": n_halo * (k * n_surface) / COMBINATIONS,
            "copied": n_halo * (k + 2 * n_surface) + (3 * n_targets + n_added) * components,
        },
    )


def p2p(
    n_targets: Size,
    n_rows: Size,
    n_runs: Size,
    one: Size,
    two: Size,
    met_one: Size,
    met_two: Size,
    n_charges: Size,
    components: int = 1,
    weights: Weights = PLAIN,
) -> Counts:
    """P2P.

    n_rows : leaves; n_runs : of sources, met by a target; n_charges : gathered
    one, two : distances that serve one side, or both; met_one, met_two : sources that leaves meet in such a way
    components : of the output
    """
    if not weights.is_mutual:
        one, two = one + 2 * two, 0 * two
    return Counts(
        {
            f"near_one{weights.near}": one * weights.near_one,
            f"near_two{weights.near}": two * weights.near_two,
            "run": n_runs,
            "row": n_rows,
            "copied": 4.0 * met_one + (4.0 + 2.0 * components) * met_two,
        },
        {"gathered": n_charges, "copied": components * n_targets},
    )
