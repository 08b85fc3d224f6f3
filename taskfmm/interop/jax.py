"""Potentials that JAX differentiates by ``jax.grad`` and ``jax.vjp``, also under ``jax.jit``: in charges and places.

>>> import jax
>>> from taskfmm.interop.jax import potential
>>> x, q = jax.random.uniform(jax.random.key(1), (1000, 3)), jax.numpy.ones(1000)
>>> energy = jax.jit(lambda x: 0.5 * q @ potential(x, q))
>>> jax.grad(energy)(x).shape
(1000, 3)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import taskfmm
from taskfmm.interop import derivatives


def potential(
    sources: Any, charges: Any, targets: Any = None, kernel: Any = None, eps: float | None = None
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
        As of `taskfmm.Fmm`, and constants under ``jit``; "laplace" and 1e-6, or those of the plan, if left out. The
        kernel has a potential and a gradient of one real number for each source, and does not change with the sign of
        the offset, as "laplace" and `taskfmm.kernels.Yukawa`.

    Returns
    -------
    array, (m,) or (m, k), of the dtype of the charges
        Computed on the CPU; under ``jit`` through ``jax.pure_callback``. Derivatives are sums of the same kind, each
        with eps. They cannot be differentiated again, and there is no rule for ``jax.jvp`` and ``jax.vmap``: give
        columns.

    Raises
    ------
    InputError
        Another dtype or shape, also while JAX traces; a kernel without such derivatives, or as of `taskfmm.Fmm`.
        Under ``jit`` values are known when the program runs only: what is wrong with them is an error of JAX then,
        whose text ends with that of taskfmm.
    NotImplementedError
        A derivative is differentiated again.
    """
    charges = _checked("charges", charges)
    if isinstance(sources, taskfmm.Fmm):
        fmm = derivatives.plan(sources, targets, kernel, eps)
        _refuse_other_rows(charges, fmm.n_sources)
        return _of_plan(fmm, charges)
    sources = _checked("sources", sources)
    targets = None if targets is None else _checked("targets", targets)
    _refuse_other_rows(charges, len(sources))
    return _of_points((str(kernel) if isinstance(kernel, str) else kernel, eps), sources, charges, targets)


def _checked(name: str, given: Any) -> jax.Array:
    array = jnp.asarray(given)
    derivatives.refuse_dtype(name, array.dtype, f"{name}.astype(float)")
    if name == "charges":
        fits, expected = array.ndim in (1, 2), "(n,), or (n, k) for k vectors"
    else:
        fits, expected = array.ndim == 2 and array.shape[1] == 3, "(n, 3)"
    if not fits:
        raise taskfmm.InputError(f"{name} has shape {array.shape}, expected {expected}")
    return array


def _refuse_other_rows(charges: jax.Array, n_sources: int) -> None:
    if len(charges) != n_sources:
        raise taskfmm.InputError(
            f"charges has {len(charges)} rows, sources has {n_sources}: give one charge for each source"
        )


def _numpy(array: Any) -> np.ndarray:
    return np.asarray(array, np.float64)


def _like(array: jax.Array, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape or array.shape, array.dtype)


def _called(run: Callable[..., Any], like: Any, *given: Any) -> Any:
    """What a function of NumPy arrays returns; called at once where these are known, so errors are its own."""
    if _traced(given):
        return jax.pure_callback(run, like, *given)
    return jax.tree.map(jnp.asarray, run(*map(np.asarray, given)))


def _traced(given: Sequence[Any]) -> bool:
    return any(isinstance(each, jax.core.Tracer) for each in given)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _derivative(run: Callable[..., Any], like: Any, *given: Any) -> Any:
    """The same of a derivative, for which there is no step back."""
    return _called(run, like, *given)


def _no_step(*_: Any) -> Any:
    raise NotImplementedError(derivatives.NO_SECOND)


_derivative.defvjp(_no_step, _no_step)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _of_plan(fmm: taskfmm.Fmm, charges: jax.Array) -> jax.Array:
    def run(charges: Any) -> np.ndarray:
        return derivatives.potential(fmm, _numpy(charges)).astype(charges.dtype)

    return _called(run, _like(charges, fmm.n_targets, *charges.shape[1:]), charges)


def _of_plan_forth(fmm: taskfmm.Fmm, charges: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _of_plan(fmm, charges), charges


def _of_plan_back(fmm: taskfmm.Fmm, charges: jax.Array, weights: jax.Array) -> tuple[jax.Array]:
    def run(charges: Any, weights: Any) -> np.ndarray:
        return derivatives.back(fmm, _numpy(charges), _numpy(weights), False)[0].astype(charges.dtype)

    return (_derivative(run, _like(charges), charges, weights),)


_of_plan.defvjp(_of_plan_forth, _of_plan_back)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _of_points(how: tuple, sources: jax.Array, charges: jax.Array, targets: jax.Array | None) -> jax.Array:
    def run(sources: Any, charges: Any, *targets: Any) -> np.ndarray:
        fmm = _plan(how, sources, *targets)
        return derivatives.potential(fmm, _numpy(charges)).astype(charges.dtype)

    n_targets = len(sources) if targets is None else len(targets)
    given = (sources, charges) if targets is None else (sources, charges, targets)
    if _traced(given):
        derivatives.refuse_options(*how)
    return _called(run, _like(charges, n_targets, *charges.shape[1:]), *given)


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
    of_charges, *of_points = _derivative(run, shapes, weights, charges, *points)
    return of_points[0], of_charges, None if targets is None else of_points[1]


_of_points.defvjp(_of_points_forth, _of_points_back)


def _plan(how: tuple, sources: Any, targets: Any = None) -> taskfmm.Fmm:
    return derivatives.plan(_numpy(sources), None if targets is None else _numpy(targets), *how)
