"""Tables of quick cases that make one test of one promise, and what several tests have or count."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import dask.array as da
import numpy as np
import pytest

from taskfmm.testing import DISTRIBUTIONS, RELATIONS

LEAF_SIZES = (1, 10, 64, 500)

EVERY_TWO = [
    (name, relation, LEAF_SIZES[(i + j) % len(LEAF_SIZES)])
    for i, name in enumerate(DISTRIBUTIONS)
    for j, relation in enumerate(RELATIONS)
]
"""Any two of a distribution, a relation and a leaf size meet; all three of them in the nightly runs."""


def each(names: str, cases: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """As ``pytest.mark.parametrize``, but all cases are one test, which names every case that failed.

    For checks of milliseconds: the cases share the fixtures of the test, so none may leave anything behind that
    another would see.
    """
    keys, rows = [name.strip() for name in names.split(",")], list(cases)

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        @wraps(check)
        def test(**fixtures: Any) -> None:
            errors = []
            for number, row in enumerate(rows):
                case = dict(zip(keys, row if len(keys) > 1 else [row], strict=True))
                try:
                    check(**fixtures, **case)
                except (Exception, pytest.fail.Exception) as error:
                    error.add_note(f"in case {number}, {case}"[:500])
                    errors.append(error)
            if errors:
                raise BaseExceptionGroup(f"{len(errors)} of {len(rows)} cases", errors)

        parameters = inspect.signature(check).parameters
        test.__signature__ = inspect.Signature([p for name, p in parameters.items() if name not in keys])
        return test

    return decorate


def even_sphere(n: int) -> np.ndarray:
    """Points spread evenly over the unit sphere: inside it, the gradient of equal charges nearly vanishes."""
    i = np.arange(n) + 0.5
    polar, angle = np.arccos(1 - 2 * i / n), np.pi * (1 + 5**0.5) * i
    return np.stack([np.sin(polar) * np.cos(angle), np.sin(polar) * np.sin(angle), np.cos(polar)], axis=1)


def size_of(arrays: list[da.Array], *charges: da.Array) -> tuple[int, int]:
    """Tasks and edges of an evaluation, without those of its charges."""
    graph = {key: task for array in arrays for key, task in dict(array.dask).items()}
    own = [graph[key] for key in graph.keys() - set().union(*(each.dask.keys() for each in charges))]
    return len(own), sum(len(task.dependencies) for task in own)
