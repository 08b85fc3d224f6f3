"""Hypothesis strategies: small clouds with charges, of every shape, at leaf sizes that make trees deep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from taskfmm.testing import CHARGE_KINDS, DISTRIBUTIONS, charges, sources_and_targets


@dataclass(frozen=True)
class Problem:
    """Sources, charges, targets (None: the sources), and a generator for what else a test draws."""

    name: str
    sources: np.ndarray
    charges: np.ndarray
    targets: np.ndarray | None
    leaf_size: int
    seed: int

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed + 1)


@st.composite
def problems(
    draw: st.DrawFn,
    names: tuple[str, ...] = tuple(DISTRIBUTIONS),
    relations: tuple[str, ...] = ("same", "separate", "disjoint"),
) -> Problem:
    """A cloud of 2 to 600 points."""
    name = draw(st.sampled_from(names))
    n = draw(st.integers(2, 600))
    seed = draw(st.integers(10**6, 10**9))
    rng = np.random.default_rng(seed)
    sources, targets = sources_and_targets(name, draw(st.sampled_from(relations)), max(n, 3), rng)
    q = charges(draw(st.sampled_from(CHARGE_KINDS)), len(sources), rng)
    return Problem(name, sources, q, targets, draw(st.sampled_from([1, 5, 30])), seed)
