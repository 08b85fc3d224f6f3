"""Potentials that autograd differentiates: ``potential(sources, charges, targets=None, kernel=None, eps=None)``.

As `taskfmm.interop.torch.potential`, of arrays; each derivative that is asked for takes a pass of its own, and raises
NotImplementedError where it is differentiated again.

>>> import autograd, autograd.numpy, numpy as np
>>> from taskfmm.interop.autograd import potential
>>> x, q = np.random.default_rng(1).random((1000, 3)), np.ones(1000)
>>> autograd.grad(lambda x: autograd.numpy.dot(q, potential(x, q)))(x).shape
(1000, 3)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from autograd.extend import defvjp, primitive

from taskfmm.interop import derivatives


def potential(
    sources: Any, charges: np.ndarray, targets: Any = None, kernel: Any = None, eps: float | None = None
) -> np.ndarray:
    """See the module."""
    return _potential(sources, charges, targets, kernel, eps)  # autograd differentiates by place alone


@primitive
def _potential(sources: Any, charges: Any, targets: Any, kernel: Any, eps: float | None) -> np.ndarray:
    return derivatives.potential(derivatives.plan(sources, targets, kernel, eps), charges)


def _no_step(*_: Any, **__: Any) -> Any:
    raise NotImplementedError(derivatives.NO_SECOND)


def _derivative(number: int) -> Callable[..., Any]:
    """By the order of what `taskfmm.interop.derivatives.back` returns."""

    @primitive
    def found(weights: Any, charges: Any, sources: Any, targets: Any, kernel: Any, eps: float | None) -> Any:
        fmm = derivatives.plan(sources, targets, kernel, eps)
        return derivatives.back(fmm, charges, weights, number > 0)[number]

    defvjp(found, _no_step, _no_step, _no_step, _no_step)

    def of(_: Any, sources: Any, charges: Any, targets: Any, kernel: Any, eps: float | None) -> Any:
        return lambda weights: found(weights, charges, sources, targets, kernel, eps)

    return of


defvjp(_potential, _derivative(1), _derivative(0), _derivative(2))
