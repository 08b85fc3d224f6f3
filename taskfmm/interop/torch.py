"""Potentials that PyTorch differentiates: in charges, and in the places of sources and targets.

>>> import torch
>>> from taskfmm.interop.torch import potential
>>> x = torch.rand(1000, 3, dtype=torch.float64, requires_grad=True)
>>> q = torch.ones(1000, dtype=torch.float64)
>>> energy = 0.5 * q @ potential(x, q)
>>> energy.backward()
>>> x.grad.shape
torch.Size([1000, 3])
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import taskfmm
from taskfmm.interop import derivatives


def potential(
    sources: Any, charges: torch.Tensor, targets: Any = None, kernel: Any = None, eps: float | None = None
) -> torch.Tensor:
    """The potential at every target, with a backward pass.

    Parameters
    ----------
    sources : tensor, (n, 3), float32 or float64, on the CPU; or a `taskfmm.Fmm`, whose points are constants
        A plan of points is kept for the next calls with the same ones, the last four.
    charges : tensor, (n,), or (n, k) for k vectors
    targets : tensor, (m, 3), optional
        The sources, if left out. A pair at zero distance adds nothing.
    kernel, eps
        As of `taskfmm.Fmm`; "laplace" and 1e-6, or those of the plan, if left out. The kernel has a potential and a
        gradient of one real number for each source, and does not change with the sign of the offset, as "laplace" and
        `taskfmm.kernels.Yukawa`.

    Returns
    -------
    tensor, (m,) or (m, k), of the dtype of the charges
        Derivatives are sums of the same kind, each with eps; they cannot be differentiated again.

    Raises
    ------
    InputError
        Another device or dtype, a kernel without such derivatives, or as of `taskfmm.Fmm`.
    NotImplementedError
        A derivative is differentiated again.
    """
    given = {"charges": charges} | ({} if isinstance(sources, taskfmm.Fmm) else {"sources": sources})
    if targets is not None:
        given["targets"] = targets
    for name, tensor in given.items():
        _refuse(name, tensor)
    return _Potential.apply(sources, charges, targets, kernel, eps)


def _refuse(name: str, tensor: Any) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise taskfmm.InputError(
            f"{name} is {type(tensor).__name__}, expected a torch.Tensor: give torch.as_tensor(...)"
        )
    if tensor.device.type != "cpu":
        raise taskfmm.InputError(f"{name} is on {tensor.device}, expected cpu: give {name}.cpu()")
    derivatives.refuse_dtype(name, tensor.dtype, f"{name}.double()")


class _Potential(torch.autograd.Function):
    """See `potential`."""

    @staticmethod
    def forward(
        ctx: Any, sources: Any, charges: Any, targets: Any, kernel: Any, eps: float | None
    ) -> torch.Tensor:
        ctx.fmm = derivatives.plan(_numpy(sources), _numpy(targets), kernel, eps)
        given = sources, charges, targets
        ctx.save_for_backward(*(each if isinstance(each, torch.Tensor) else None for each in given))
        return torch.as_tensor(derivatives.potential(ctx.fmm, _numpy(charges)), dtype=charges.dtype)

    @staticmethod
    def backward(ctx: Any, weights: torch.Tensor) -> tuple[Any, ...]:
        given, needed = ctx.saved_tensors, ctx.needs_input_grad[:3]
        of_charges, *of_points = derivatives.back(
            ctx.fmm, _numpy(given[1]), _numpy(weights), needed[0] or needed[2]
        )
        found: list[Any] = []
        for array, tensor, wanted in zip(
            (of_points[0], of_charges, of_points[1]), given, needed, strict=True
        ):
            found.append(
                _Once.apply(torch.as_tensor(array, dtype=tensor.dtype), weights, *given) if wanted else None
            )
        return *found, None, None


class _Once(torch.autograd.Function):
    """A derivative that hangs on what it was formed from; it is told that this is not known, rather than zero."""

    @staticmethod
    def forward(ctx: Any, found: torch.Tensor, *of: Any) -> torch.Tensor:
        return found.clone()

    @staticmethod
    def backward(ctx: Any, weights: torch.Tensor) -> Any:
        raise NotImplementedError(derivatives.NO_SECOND)


def _numpy(given: Any) -> Any:
    """A tensor as float64 [...]; all else as it is."""
    return given.detach().numpy().astype(np.float64) if isinstance(given, torch.Tensor) else given
