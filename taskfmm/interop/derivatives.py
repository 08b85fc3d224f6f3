"""Derivatives of sums of potentials, for frameworks of automatic differentiation: arrays in, arrays out.

Of L = sum_i w_i phi_i with phi_i = sum_j K(x_i - y_j) q_j, and K(r) = K(-r), derivatives are fields as well: dL/dq_j
is psi(y_j), the potential of charges w at the targets; dL/dx_i = w_i grad phi(x_i), and dL/dy_j = q_j grad psi(y_j).
Where the sources are the targets, both parts add up, and q and w are two vectors of charges of one plan.
"""

from __future__ import annotations

from typing import Any

import dask
import numpy as np

import taskfmm
from taskfmm.interop.sums import Plans

PLANS = Plans(4)
"""A step back asks for the plan of the step forth, and where targets are apart for one with both exchanged."""

OFFSETS = np.array([[0.7, -0.4, 0.5], [-0.3, 0.9, 0.4]])
"""From a source to targets, of no symmetry."""

NO_SECOND = (
    "derivatives of a potential cannot be differentiated again, as taskfmm has no second ones: take differences of "
    "first ones, at places or charges a little apart"
)
"""Said by all frameworks, in a NotImplementedError."""


def plan(sources: Any, targets: Any, kernel: Any, eps: float | None) -> taskfmm.Fmm:
    """A plan, which may be one that was kept.

    sources : points, or a plan, which is returned as it is
    kernel, eps : those of the plan, or of `defaults`, if None

    Raises
    ------
    InputError
        A plan with targets or other options beside it, of a periodic box, or of a kernel without such derivatives.
    """
    if not isinstance(sources, taskfmm.Fmm):
        found = PLANS.fmm(*defaults(kernel, eps), np.array(sources, np.float64), _copied(targets), 1)
    elif targets is not None:
        raise taskfmm.InputError(
            "sources is a plan, and targets are given as well: give fmm.at(targets) alone"
        )
    elif kernel not in (None, sources.kernel, sources.kernel.name) or eps not in (None, sources.eps):
        raise taskfmm.InputError(
            f"sources is a plan, of kernel {sources.kernel.name} and eps {sources.eps:g}, and other options are "
            "given as well: leave out kernel and eps here, and give them to taskfmm.Fmm"
        )
    else:
        found = sources
    if found.box is not None:
        raise taskfmm.InputError(
            "derivatives in a periodic box are not known: charges of the step back have a sum"
        )
    _refuse_other_kernels(found.kernel)
    return found


def defaults(kernel: Any, eps: float | None) -> tuple[Any, float]:
    """The kernel and eps for points, where they may be left out."""
    return "laplace" if kernel is None else kernel, 1e-6 if eps is None else eps


def refuse_dtype(name: str, dtype: Any, make: str) -> None:
    """Raise InputError for numbers that are not float32 or float64.

    make : of the framework, what an array of other real numbers is to become
    """
    kind = str(dtype).rpartition(".")[2]
    if kind not in ("float32", "float64"):
        if kind.startswith("complex"):
            make = f"{name}.real and {name}.imag one after the other, as potentials add up"
        raise taskfmm.InputError(f"{name} is {dtype}, expected float32 or float64: give {make}")


def refuse_options(kernel: Any, eps: float | None) -> None:
    """Raise InputError for what `plan` would refuse whatever the points, as while these are traced."""
    kernel, eps = defaults(kernel, eps)
    _refuse_other_kernels(taskfmm.Fmm(np.zeros((1, 3)), kernel=kernel, eps=eps).kernel)


def potential(fmm: taskfmm.Fmm, charges: np.ndarray) -> np.ndarray:
    """float64 [n_targets], or [n_targets, k] of k vectors; raises InputError for complex charges."""
    if (dtype := np.asarray(charges).dtype).kind == "c":
        refuse_dtype("charges", dtype, "")
    return np.asarray(fmm.potential(charges).compute(), np.float64)


def back(
    fmm: taskfmm.Fmm, charges: np.ndarray, weights: np.ndarray, points: bool = True
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Derivatives of the sum of weights times potentials in the charges, the sources and the targets.

    Parameters
    ----------
    fmm : Fmm
    charges : float64 [n_sources], or [n_sources, k]
    weights : float64, in the shape of the potentials
    points : bool, whether derivatives in places are wanted

    Returns
    -------
    float64, in the shape of the charges; [n_sources, 3] and [n_targets, 3], or None. Where the targets are the
    sources, the third is None and the second has both parts.
    """
    outputs = ("potential", "gradient") if points else ("potential",)
    q, w = (array[:, None] if array.ndim == 1 else array for array in (charges, weights))
    k = q.shape[1]
    if fmm.separate:
        there = _exchanged(fmm).evaluate(w, outputs)
        here = fmm.evaluate(q, "gradient") if points else {}
        there, here = dask.compute(there, here)
        of_charges = there["potential"].reshape(charges.shape)
        if not points:
            return of_charges, None, None
        return of_charges, _weighted(q, there["gradient"]), _weighted(w, here["gradient"])
    both = np.concatenate((w, q), axis=1) if points else w
    (found,) = dask.compute(fmm.evaluate(both, outputs))
    of_charges = np.ascontiguousarray(found["potential"][:, :k]).reshape(charges.shape)
    if not points:
        return of_charges, None, None
    gradient = found["gradient"]
    return of_charges, _weighted(q, gradient[..., :k]) + _weighted(w, gradient[..., k:]), None


def _weighted(numbers: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """[n, k] and [n, 3, k] to [n, 3]."""
    return np.einsum("nk,nck->nc", numbers, gradients)


def _exchanged(fmm: taskfmm.Fmm) -> taskfmm.Fmm:
    """The plan from the targets to the sources."""
    return PLANS.fmm(fmm.kernel, fmm.eps, fmm.targets, fmm.sources, 1)


def _copied(targets: Any) -> np.ndarray | None:
    return None if targets is None else np.array(targets, np.float64)


def _refuse_other_kernels(kernel: Any) -> None:
    source, outputs = kernel.sources[0], {output.name: output.shape for output in kernel.outputs}
    scalar = source.of_one == () and not source.complex and outputs.get("potential") == ()
    if not scalar or outputs.get("gradient") != (3,):
        raise taskfmm.InputError(
            f"kernel {kernel.name} has no potential and gradient of one real number for each source: derivatives are "
            "known of such kernels, as laplace and yukawa"
        )
    if kernel.softening is not None:
        raise taskfmm.InputError(f"kernel {kernel.name} is softened by sources: derivatives are not known")
    one: dict[str, Any] = {source.given_as: np.ones(1)}
    here, there = (
        np.asarray(taskfmm.direct(np.zeros((1, 3)), targets=to, kernel=kernel, **one))
        for to in (OFFSETS, -OFFSETS)
    )
    if not np.allclose(here, there, rtol=1e-9, atol=0.0):
        raise taskfmm.InputError(
            f"kernel {kernel.name} changes with the sign of the offset: derivatives are not known"
        )
