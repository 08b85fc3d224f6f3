"""Labelled arrays of xarray: charges with names and coordinates in, potentials with these out, lazy as ever."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray

import taskfmm

Dims = tuple[Hashable, ...]

AXES = ("axis", "axis_2")
"""Of derivatives: the second one is that of second derivatives."""


def potential(
    fmm: taskfmm.Fmm, charges: xarray.DataArray, targets: xarray.DataArray | None = None, dim: Hashable = None
) -> xarray.DataArray:
    """The potential of `evaluate`.

    Examples
    --------
    >>> import numpy as np, taskfmm, xarray
    >>> from taskfmm.interop.xarray import potential
    >>> fmm = taskfmm.Fmm(np.random.default_rng(1).random((500, 3)))
    >>> charges = xarray.DataArray(np.ones((500, 2)), dims=("ion", "run"), coords={"run": ["hot", "cold"]})
    >>> potential(fmm, charges).sel(run="cold").dims
    ('ion',)
    """
    return evaluate(fmm, charges, "potential", targets, dim)["potential"]


def evaluate(
    fmm: taskfmm.Fmm,
    charges: xarray.DataArray | None = None,
    outputs: Sequence[str] | str | None = None,
    targets: xarray.DataArray | None = None,
    dim: Hashable = None,
    **others: xarray.DataArray,
) -> xarray.Dataset:
    """Outputs with the labels of charges and targets.

    Parameters
    ----------
    fmm : Fmm
    charges, **others : DataArray, NumPy or dask
        As of `taskfmm.Fmm.evaluate`: after the dimension of the sources those of a source that has several numbers.
        All further ones tell vectors apart.
    outputs : as of `taskfmm.Fmm.evaluate`
    targets : DataArray, optional
        Places, of which the last dimension is x, y and z, as of a grid ``("height", "width", "axis")``; those of the
        plan, if left out. See `taskfmm.Fmm.at`.
    dim : name of the dimension of the sources; the first one, if left out

    Returns
    -------
    Dataset
        Lazy, with one variable for each output. Dimensions are those of the targets, "axis" of a derivative, and
        those of the vectors; coordinates along these are kept. Targets of the plan that are not the sources are
        "target". Attributes are not kept, as a unit would be wrong.

    Raises
    ------
    InputError
        No DataArray, dimensions that do not fit together, or as of `taskfmm.Fmm.evaluate`.
    """
    kinds = {kind.given_as: kind for kind in fmm.kernel.sources}
    given = ({} if charges is None else {next(iter(kinds)): charges}) | others
    for name, array in (given | ({} if targets is None else {"targets": targets})).items():
        if not isinstance(array, xarray.DataArray):
            raise taskfmm.InputError(f"{name} is {type(array).__name__}, expected an xarray.DataArray")
    numbers: dict[str, Any] = {}
    vectors: Dims = ()
    for name, array in given.items():
        own = len(kinds[name].of_one) if name in kinds else 0
        numbers[name], vectors = _numbers(name, array, dim, own, vectors if numbers else None)
    labels = {name: found for array in given.values() for name, found in array.coords.items()}
    plan, points, shape = fmm, (_dim(given, dim),), (fmm.n_targets,)
    if targets is not None:
        *points, _ = targets.dims
        shape, labels = targets.shape[:-1], _along(labels, vectors) | dict(targets.coords)
        plan = fmm.at(targets.data.reshape(-1, targets.shape[-1]))
    elif fmm.separate:
        points, labels = ("target",), _along(labels, vectors)
    sizes = [next(iter(given.values())).sizes[each] for each in vectors]
    found = plan.evaluate(outputs=outputs, **numbers)
    variables = {}
    for name, array in found.items():
        axes = AXES[: len(fmm.kernel.output(name).shape)]
        dims = (*points, *axes, *vectors)
        whole = array.reshape((*shape, *(3,) * len(axes), *sizes))
        variables[name] = xarray.DataArray(whole, dims=dims, coords=_along(labels, dims), name=name)
    return xarray.Dataset(variables).assign_coords(
        {axis: ["x", "y", "z"] for axis in AXES if any(axis in each.dims for each in variables.values())}
    )


def _dim(given: Mapping[str, xarray.DataArray], dim: Hashable) -> Hashable:
    """The dimension of the sources."""
    return next((array.dims[0] for array in given.values() if array.ndim), "target") if dim is None else dim


def _numbers(
    name: str, array: xarray.DataArray, dim: Hashable, own: int, before: Dims | None
) -> tuple[Any, Dims]:
    """An array with the sources first and all vectors as one last axis, and the dimensions of these.

    own : dimensions of one source; before : those of the vectors of another kind, which have to be the same
    """
    if dim is not None and dim not in array.dims:
        raise taskfmm.InputError(f"{name} has the dimensions {array.dims}, and none is {dim!r}")
    first = array if dim is None else array.transpose(dim, ...)
    vectors = first.dims[1 + own :]
    if before is not None and vectors != before:
        raise taskfmm.InputError(
            f"{name} has vectors along {vectors}, and other sources along {before}: give the same"
        )
    if not vectors:
        return first.data, ()
    return first.data.reshape((*first.shape[: 1 + own], int(np.prod(first.shape[1 + own :])))), vectors


def _along(labels: Mapping[Hashable, Any], dims: Sequence[Hashable]) -> dict[Hashable, Any]:
    """Coordinates along some dimensions, or none."""
    return {name: found for name, found in labels.items() if set(found.dims) <= set(dims)}
