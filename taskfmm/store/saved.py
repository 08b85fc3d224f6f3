"""A whole plan in a file: what `taskfmm.Fmm.save` writes and `taskfmm.Fmm.load` trusts only after looking at it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

import numpy as np

from taskfmm import choices
from taskfmm.errors import InputError
from taskfmm.geometry import morton, surface
from taskfmm.geometry.cell import Box, Cell
from taskfmm.geometry.domain import box_half_width
from taskfmm.kernels import KERNELS, Kernel, fingerprint
from taskfmm.operators.accuracy import MIXED, Accuracy
from taskfmm.operators.box import BoxOperators, to_child
from taskfmm.operators.known import Known
from taskfmm.operators.levels import UNIT, Matrices, fine
from taskfmm.plan.plan import Plan
from taskfmm.plan.planned import Asked, Planned
from taskfmm.plan.shards import Interactions
from taskfmm.plan.works import Chunk, FarShard, Moments, PointsToPoints
from taskfmm.store import copies, file
from taskfmm.store.bounds import Unfit, at, need, shapes
from taskfmm.store.check import check
from taskfmm.tree.octree import Octree

NAMED = ("sources", "targets", "keys", "tree", "lists", "operators")
"""Values whose arrays are datasets of their own."""

SHAPES = dict(
    upward_check="3 s", upward_equivalent="3 e", check_to_multipole="p k", check_to_local="q k", m2m="8 c k",
)  # fmt: skip
"""Of the arrays of operators, whose dtype is that of their accuracy."""


LARGEST = dict(check_to_multipole=1e16, check_to_local=1e16, m2m=1e4)
"""The largest number that an operator can hold. Inverses are cut where singular values are rounding. M2M and L2L are
applied once a level, so they stay near one, or numbers would overflow in a deep tree."""

INVERSES = ("check_to_multipole", "check_to_local")
LARGEST_OF_IMAGES = 1e12
"""The same of what far images do to locals, which takes multipoles without any inverse."""

LARGEST_OF_M2L = 1e4
"""The same for each array of M2L."""

LARGEST_IN_ANY_UNIT = 1e300
"""The same for inverses and M2L of a kernel without a degree. They are of boxes of their true size, in the caller's
unit; where the kernel dies away within a box, its inverses are as large as it is small."""


DTYPES = ("float32", "float64")
"""Of expansions, and of M2L, which may be in both."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What was planned, as plain values: what a file holds, before it is trusted.

    order, leaf_size : as given, or as chosen
    sources, targets : float64 [n, 3], in the caller's order and units; targets None where they are the sources
    like : what is known of lazy charges, or None
    box : where it is periodic, else None
    operators : by output, of the accuracy that the usual charges need; none where nothing is approximated
    plan : None where there are no sources or no targets
    fingerprint : of the kernel's formulas
    """

    kernel: Kernel
    fingerprint: str
    eps: float
    order: int | None
    leaf_size: int | None
    dtype: str
    sources: np.ndarray
    targets: np.ndarray | None
    like: Known | None
    operators: dict[str, Matrices]
    box: Box | None
    plan: Plan | None

    @classmethod
    def of(cls, planned: Planned, accuracy: dict[str, Accuracy]) -> Contents:
        """With the operators of these accuracies, by output."""
        asked = planned.asked
        return cls(
            asked.kernel,
            fingerprint(asked.kernel),
            asked.eps,
            asked.order,
            planned.leaf_size,
            asked.dtype.name,
            planned.sources,
            None if planned.same else planned.targets,
            planned.like,
            {output: planned.matrices(chosen) for output, chosen in accuracy.items()}
            if _approximates(planned.plan)
            else {},
            asked.box,
            planned.plan,
        )

    def planned(self, path: str | os.PathLike[str]) -> Planned:
        """Checked like what a caller gives; raises InputError, which names the file."""
        try:
            dtype, eps, order = choices.dtype(self.dtype), choices.eps(self.eps), choices.order(self.order)
            leaf_size = choices.leaf_size(self.leaf_size)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        asked = Asked(self.kernel, dtype, eps, order, self.box)
        points = self.sources, self.sources if self.targets is None else self.targets
        return Planned(asked, leaf_size, self.plan, self.like, dict(self.operators), points)


def _approximates(plan: Plan | None) -> bool:
    return plan is not None and not plan.is_direct


_SETTINGS = ("kernel", "fingerprint", "eps", "order", "leaf_size", "dtype", "like", "box")

_PLAN = {
    "tree": Octree,
    "lists": Interactions,
    "far": tuple[tuple[FarShard, ...], ...],
    "near": tuple[PointsToPoints, ...],
    "chunks": tuple[Chunk, ...],
    "charge_ptr": np.ndarray,
    "moments": tuple[Moments, ...],
}


def save(path: str | os.PathLike[str], contents: Contents) -> None:
    """Write a plan, whole or not at all; raises StorageError."""
    plan = contents.plan
    values: dict[str, Any] = {name: getattr(contents, name) for name in (*_SETTINGS, "sources", "targets")}
    values |= {"operators": contents.operators, "planned": plan is not None}
    if plan is not None:
        values["keys"] = morton.box_keys(plan.tree.level, plan.tree.anchor)
        values |= {name: getattr(plan, name) for name in _PLAN}
    facts = {
        "eps": contents.eps,
        "order": contents.order or "",
        "leaf_size": contents.leaf_size or "",
        "dtype": contents.dtype,
    }
    file.write(path, values, named=NAMED, attributes={"kernel": contents.kernel.name, **facts}, lasting=True)


def load(path: str | os.PathLike[str]) -> Contents:
    """Read a plan that may come from anywhere.

    Raises
    ------
    StorageError
        The file is not there, no plan, of another version, cut short or changed.
    InputError
        It is what was written, but not what a plan can be.
    """
    found = file.PlanFile(path, verify=True)
    hints = get_type_hints(Contents)
    values = {name: found.read(name, hints[name]) for name in (*_SETTINGS, "sources", "targets", "operators")}
    plan = (
        Plan(**{name: found.read(name, hint) for name, hint in _PLAN.items()})
        if found.read("planned", bool)
        else None
    )
    contents = Contents(**values, plan=plan)
    try:
        _check(contents)
    except Unfit as error:
        raise InputError(
            f"{path}: is no plan that can be run, make it again from the points: {error}"
        ) from error
    return contents


def _check(contents: Contents) -> None:
    """All that can be seen to be wrong."""
    need(
        contents.kernel.name in KERNELS
        and KERNELS[contents.kernel.name].with_parameters(*contents.kernel.parameters) == contents.kernel
        and len(KERNELS[contents.kernel.name].parameters) == len(contents.kernel.parameters)
        and np.isfinite(contents.kernel.parameters).all()
        and 0.0 not in contents.kernel.divisors,
        f"kernel {contents.kernel.name[:40]!r} is not one of this version, nor registered: if it is yours, call "
        "taskfmm.kernels.register first",
    )
    softening = contents.kernel.softening
    need(softening is None or softening.lengths is None, "lengths of sources belong to the tree")
    need(
        contents.fingerprint == fingerprint(contents.kernel),
        f"the formulas of kernel {contents.kernel.name!r} have been edited since",
    )
    for name in ("sources", "targets"):
        points = getattr(contents, name)
        if points is not None:
            need(
                points.dtype == np.float64 and points.ndim == 2 and points.shape[1] == 3,
                f"{name} are not points",
            )
            need(np.isfinite(points).all(), f"{name} are not finite")
    if contents.plan is None:
        empty = len(contents.sources) == 0 or (contents.targets is not None and len(contents.targets) == 0)
        need(empty and not contents.operators, "the plan is missing")
        return
    names, found = contents.kernel.names, {name.split(" of ")[0] for name in contents.operators}
    need(
        found <= set(names) and (names[0] in found) == _approximates(contents.plan),
        "operators: of other outputs",
    )
    cell = contents.plan.tree.domain.cell
    _box(contents.box, cell, contents.plan.tree.domain.scale)
    for output, operators in contents.operators.items():
        with at(f"operators of {output}"):
            need(operators.cell == cell, "of another box")
            need(
                (operators.images is None) == (cell is None),
                "far images without a periodic box, or the reverse",
            )
            if operators.images is not None and cell is not None:
                rank = operators.at(cell.level).rank
                expected = (4 if contents.kernel.first_moment else 1, math.prod(cell.cubes), rank, rank)
                need(operators.images.dtype == np.float64, "images are of another dtype")
                need(operators.images.shape == expected, f"images have shape {operators.images.shape}")
                most = np.abs(operators.images).max(initial=0.0)  # a NaN stays one
                need(most <= LARGEST_OF_IMAGES, "images hold numbers that are not finite, or too large")
        widths = _half_widths(contents)
        need(operators.by_level.keys() == widths.keys(), f"operators of {output}: of other levels")
        for level, each in operators.by_level.items():
            chosen = operators.accuracy if cell is None or level == max(widths) else operators.accuracy.coarse
            with at(f"operators of {output}"):
                _operators(contents.kernel, each, chosen, widths[level])
                below = operators.at(level + 1).rank
                rank = each.m2m.shape[1]
                need(level == max(widths) or rank == below, "do not fit those below")
                need(contents.kernel.degree is None or rank == below, "do not fit themselves")
    softened = contents.plan.tree.lengths is not None
    need(softened == (softening is not None), "lengths of sources without a softening, or the reverse")
    check(contents.plan, contents.targets is None)
    copies.check(
        contents.plan, contents.sources, contents.sources if contents.targets is None else contents.targets
    )


def _box(box: Box | None, cell: Cell | None, scale: float) -> None:
    """That what was asked for is what was planned."""
    need((box is None) == (cell is None), "a periodic box without a cell, or the reverse")
    if box is None or cell is None:
        return
    need(
        box.periodic == cell.periodic and box.in_vacuum == cell.in_vacuum,
        "the box is repeated in another way",
    )
    for repeated, length, scaled in zip(box.periodic, box.lengths, cell.lengths, strict=True):
        need(not repeated or length * scale == scaled, "the box has other sides than the cell")


def _half_widths(contents: Contents) -> dict[int, float]:
    """Of the boxes that have operators of their own, by level."""
    assert contents.plan is not None
    cell = contents.plan.tree.domain.cell
    if cell is not None:
        return dict.fromkeys((0, fine(cell) - 1, fine(cell)), UNIT)
    if contents.kernel.degree is not None:
        return {0: UNIT}
    domain = contents.plan.tree.domain
    return {
        level: box_half_width(domain, level) for level in range(contents.plan.top, len(contents.plan.far))
    }


def _operators(kernel: Kernel, found: BoxOperators, accuracy: Accuracy, half_width: float) -> None:
    """Of this accuracy, by their shapes; loops reach into the M2L factors without looking."""
    need(found.accuracy == accuracy, "of several accuracies")
    need(
        1 <= accuracy.order <= 20 and accuracy.dtype in DTYPES and accuracy.m2l_dtype in (*DTYPES, MIXED),
        "of an accuracy that cannot be",
    )
    shapes(found, {name: f"{accuracy.dtype} {shape}" for name, shape in SHAPES.items()})
    need(found.half_width == half_width, "of boxes of another size")
    need(found.to_child == to_child(kernel), "of children in another unit")
    kernel = kernel.expands
    outer, inner = (
        (half_width * points(kernel.surfaces, accuracy.order)).astype(accuracy.dtype)
        for points in (surface.check, surface.equivalent)
    )
    sizes = found.upward_check.shape[1], found.upward_equivalent.shape[1]
    need(sizes == (outer.shape[1], inner.shape[1]), "of another order")
    numbers = found.check_to_multipole.shape[0], found.check_to_local.shape[0]
    need(numbers == (kernel.n_charge * outer.shape[1], kernel.n_charge * inner.shape[1]), "of another kernel")
    need(np.array_equal(found.upward_check, outer), "another outer surface")
    need(np.array_equal(found.upward_equivalent, inner), "another inner surface")
    try:
        found.m2l.check(found.rank, accuracy.m2l_dtype)
    except ValueError as error:
        raise Unfit(str(error)) from None
    bounds, of_m2l = LARGEST, LARGEST_OF_M2L
    if kernel.degree is None:
        bounds, of_m2l = LARGEST | dict.fromkeys(INVERSES, LARGEST_IN_ANY_UNIT), LARGEST_IN_ANY_UNIT
    bounded = [(name, getattr(found, name), largest) for name, largest in bounds.items()]
    factors = ((field.name, getattr(part, field.name)) for part in found.m2l.parts for field in fields(part))
    bounded += [(name, array, of_m2l) for name, array in factors if array.dtype.kind == "f"]
    for name, array, largest in bounded:
        fits = array.size == 0 or (
            array.min() >= -largest and array.max() <= largest
        )  # not if there is a NaN
        need(fits, f"{name} holds numbers that are not finite, or beyond {largest:g}")
