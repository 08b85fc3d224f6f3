"""Labelled arrays of xarray: charges with names and coordinates in, potentials with these out, lazy as ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
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
        Places, of which the last dimension is x, y and z in this order, as of a grid ``("height", "width", "axis")``;
        those of the plan, if left out. See `taskfmm.Fmm.at`.
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
        No plan or no DataArray; dimensions that do not fit together, a name that would stand for two things in a
        result, or coordinates of one name that differ; or as of `taskfmm.Fmm.evaluate`.
    """
    if not hasattr(fmm, "evaluate"):
        raise taskfmm.InputError(
            f"fmm is {type(fmm).__name__}, expected a plan: give taskfmm.Fmm(points) first, and then the charges"
        )
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
    labels = _merged(array.coords for array in given.values())
    points: Dims = (_dim(given, dim),)
    shape: tuple[int, ...] = (fmm.n_targets,)
    plan = fmm
    if targets is not None:
        plan, points, shape = _at(fmm, targets), targets.dims[:-1], targets.shape[:-1]
        labels = _merged([_along(labels, vectors), _along(targets.coords, points)])
    elif fmm.separate:
        points, labels = ("target",), _along(labels, vectors)
    sizes = [next(iter(given.values())).sizes[each] for each in vectors]
    results, variables = plan.evaluate(outputs=outputs, **numbers), {}
    for name, found in results.items():
        axes = AXES[: len(fmm.kernel.output(name).shape)]
        dims = (*points, *axes, *vectors)
        own_labels = _along(labels, dims)
        _refuse_clashes(name, results, dims, axes, own_labels)
        whole = found.reshape((*shape, *(3,) * len(axes), *sizes))
        coords = own_labels | {axis: ["x", "y", "z"] for axis in axes}
        variables[name] = xarray.DataArray(whole, dims=dims, coords=coords, name=name)
    return xarray.Dataset(variables)


def _at(fmm: taskfmm.Fmm, targets: xarray.DataArray) -> taskfmm.Fmm:
    """The plan for places on a grid."""
    if not targets.ndim:
        raise taskfmm.InputError("targets has no dimension, expected x, y and z along its last one")
    axis = targets.dims[-1]
    labels = _labels(targets, axis)
    for other in targets.dims[:-1]:
        if sorted(_labels(targets, other)) == ["x", "y", "z"]:
            raise taskfmm.InputError(
                f"targets has {other!r} before its last dimension {axis!r}, where x, y and z are expected: give "
                f"targets.transpose(..., {other!r})"
            )
    if sorted(labels) == ["x", "y", "z"] != labels:
        raise taskfmm.InputError(
            f"targets has the labels {', '.join(labels)} along {axis!r}, expected x, y, z in this order: sort them, "
            f"as by targets.sortby({axis!r})"
        )
    if not hasattr(fmm, "at"):
        raise taskfmm.InputError(
            "a plan of points that no process holds has its own targets alone: give none here"
        )
    return fmm.at(targets.data.reshape(-1, targets.shape[-1]))


def _labels(array: xarray.DataArray, dim: Hashable) -> list[str]:
    return [str(each).lower() for each in array.coords[dim].values] if dim in array.coords else []


def _refuse_clashes(
    output: str, outputs: Iterable[str], dims: Dims, axes: Sequence[str], labels: Mapping[Hashable, Any]
) -> None:
    """Raise InputError where a name would stand for two things: an output, a dimension, another coordinate."""
    others = [name for name, found in labels.items() if name in axes or found.dims != (name,)]
    twice = [name for name, count in Counter((*outputs, *dims, *others)).items() if count > 1]
    if twice:
        raise taskfmm.InputError(
            f"{output} has the dimensions {dims} and the coordinates {tuple(labels)}, so that {twice[0]!r} stands "
            f"for two things: rename that of your array, by its rename({{{twice[0]!r}: ...}})"
        )


def _merged(several: Iterable[Mapping[Hashable, Any]]) -> dict[Hashable, Any]:
    """Coordinates of several arrays; raises InputError where those of one name differ."""
    labels: dict[Hashable, Any] = {}
    for each in several:
        for name, found in each.items():
            if name in labels and not labels[name].variable.equals(found.variable):
                raise taskfmm.InputError(
                    f"coordinates {name!r} differ from array to array: sort them alike, or rename or drop one"
                )
            labels[name] = found
    return labels


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
