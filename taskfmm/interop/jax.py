"""Potentials that JAX differentiates by ``jax.grad`` and ``jax.vjp``, also under ``jax.jit``: in charges and places.

>>> import jax
>>> from taskfmm.interop.jax import potential
>>> x, q = jax.random.uniform(jax.random.key(1), (1000, 3)), jax.numpy.ones(1000)
>>> energy = jax.jit(lambda x: 0.5 * q @ potential(x, q))
>>> jax.grad(energy)(x).shape
(1000, 3)
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import taskfmm
from taskfmm.interop import derivatives


def potential(
    sources: Any, charges: Any, targets: Any = None, kernel: Any = "laplace", eps: float = 1e-6
) -> jax.Array:
    """The potential at every target, with a rule for the step back.

    Parameters
    ----------
    sources : array, (n, 3), float32 or float64; or a `taskfmm.Fmm`, whose points are constants
        A plan of points is kept for the next calls with the same ones, the last four.
    charges : array, (n,), or (n, k) for k vectors
    targets : array, (m, 3), optional
        The sources, if left out. A pair at zero distance adds nothing.
    kernel, eps
        As of `taskfmm.Fmm`, and constants under ``jit``. The kernel has a potential and a gradient of one real
        number for each source, and does not change with the sign of the offset, as "laplace" and
        `taskfmm.kernels.Yukawa`.

    Returns
    -------
    array, (m,) or (m, k), of the dtype of the charges
        Computed on the CPU, through ``jax.pure_callback``. Derivatives are sums of the same kind, each with eps. They
        cannot be differentiated again, and there is no rule for ``jax.jvp`` and ``jax.vmap``: give columns.

    Raises
    ------
    InputError
        Another dtype or shape, a kernel without such derivatives. As the arrays are known when the program runs only,
        what else `taskfmm.Fmm` refuses is an error of JAX then, with its message.
    """
    charges = _checked("charges", charges)
    how = str(kernel) if isinstance(kernel, str) else kernel, float(eps)
    if isinstance(sources, taskfmm.Fmm):
        derivatives.plan(sources, targets, *how)
        return _of_plan(sources, charges)
    sources = _checked("sources", sources)
    return _of_points(how, sources, charges, None if targets is None else _checked("targets", targets))


def _checked(name: str, given: Any) -> jax.Array:
    array = jnp.asarray(given)
    if array.dtype not in (jnp.float32, jnp.float64):
        raise taskfmm.InputError(
            f"{name} is {array.dtype}, expected float32 or float64: give {name}.astype(float)"
        )
    if array.ndim not in ((1, 2) if name == "charges" else (2,)):
        raise taskfmm.InputError(f"{name} has shape {array.shape}, see the docstring of potential")
    return array


def _numpy(array: Any) -> np.ndarray:
    return np.asarray(array, np.float64)


def _like(array: jax.Array, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape or array.shape, array.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _of_plan(fmm: taskfmm.Fmm, charges: jax.Array) -> jax.Array:
    def run(charges: Any) -> np.ndarray:
        return derivatives.potential(fmm, _numpy(charges)).astype(charges.dtype)

    return jax.pure_callback(run, _like(charges, fmm.n_targets, *charges.shape[1:]), charges)


def _of_plan_forth(fmm: taskfmm.Fmm, charges: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _of_plan(fmm, charges), charges


def _of_plan_back(fmm: taskfmm.Fmm, charges: jax.Array, weights: jax.Array) -> tuple[jax.Array]:
    def run(charges: Any, weights: Any) -> np.ndarray:
        return derivatives.back(fmm, _numpy(charges), _numpy(weights), False)[0].astype(charges.dtype)

    return (jax.pure_callback(run, _like(charges), charges, weights),)


_of_plan.defvjp(_of_plan_forth, _of_plan_back)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _of_points(how: tuple, sources: jax.Array, charges: jax.Array, targets: jax.Array | None) -> jax.Array:
    def run(sources: Any, charges: Any, *targets: Any) -> np.ndarray:
        fmm = _plan(how, sources, *targets)
        return derivatives.potential(fmm, _numpy(charges)).astype(charges.dtype)

    n_targets = len(sources) if targets is None else len(targets)
    given = (sources, charges) if targets is None else (sources, charges, targets)
    return jax.pure_callback(run, _like(charges, n_targets, *charges.shape[1:]), *given)


def _of_points_forth(how: tuple, *given: Any) -> tuple[jax.Array, tuple]:
    return _of_points(how, *given), given


def _of_points_back(how: tuple, given: tuple, weights: jax.Array) -> tuple[Any, ...]:
    sources, charges, targets = given

    def run(weights: Any, charges: Any, *points: Any) -> tuple[np.ndarray, ...]:
        fmm = _plan(how, *points)
        of_charges, *of_points = derivatives.back(fmm, _numpy(charges), _numpy(weights))
        found = zip((of_charges, *of_points), (charges, *points), strict=False)
        return tuple(np.asarray(a, as_was.dtype) for a, as_was in found)

    points = (sources,) if targets is None else (sources, targets)
    shapes = tuple(map(_like, (charges, *points)))
    of_charges, *of_points = jax.pure_callback(run, shapes, weights, charges, *points)
    return of_points[0], of_charges, None if targets is None else of_points[1]


_of_points.defvjp(_of_points_forth, _of_points_back)


def _plan(how: tuple, sources: Any, targets: Any = None) -> taskfmm.Fmm:
    return derivatives.plan(_numpy(sources), None if targets is None else _numpy(targets), *how)
