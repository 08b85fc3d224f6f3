"""Shared by all tests: small plans made once."""

from __future__ import annotations

import numpy as np
import pytest

import taskfmm
from taskfmm.testing import DISTRIBUTIONS


@pytest.fixture(scope="session")
def clustered() -> taskfmm.Fmm:
    """A cloud whose plan uses all eight operators, on many shards of many levels."""
    rng = np.random.default_rng(5308417)
    points = np.concatenate([DISTRIBUTIONS["plummer"](9000, rng), DISTRIBUTIONS["sphere"](9000, rng) * 30])
    return taskfmm.Fmm(points, order=4, leaf_size=60)


@pytest.fixture(scope="session")
def separate() -> taskfmm.Fmm:
    """Other targets than sources."""
    rng = np.random.default_rng(2750161)
    sources, targets = DISTRIBUTIONS["plummer"](6000, rng), DISTRIBUTIONS["plummer"](4000, rng)
    return taskfmm.Fmm(sources, targets, order=3, leaf_size=25)


@pytest.fixture(scope="session")
def charges(clustered: taskfmm.Fmm) -> np.ndarray:
    return np.random.default_rng(3391753).uniform(-1, 1, len(clustered.sources))
