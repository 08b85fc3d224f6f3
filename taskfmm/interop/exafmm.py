"""The Python module of exafmm-t, as bempp-cl and programs upon it call it, answered by taskfmm.

`install` makes ``import exafmm`` find it: modules ``laplace``, ``helmholtz`` and ``modified_helmholtz`` with the same
functions. Kernels are those of exafmm, 1 / (4 pi r), exp(i k r) / (4 pi r) and exp(-k r) / (4 pi r).

>>> import numpy as np
>>> import taskfmm.interop.exafmm as bridge
>>> stand_in = bridge.install()
>>> import exafmm.laplace
>>> sources = exafmm.laplace.init_sources([[0.0, 0.0, 0.0]], [4 * np.pi])
>>> fmm = exafmm.laplace.LaplaceFmm(p=6, ncrit=400)
>>> tree = exafmm.laplace.setup(sources, exafmm.laplace.init_targets([[0.0, 0.0, 2.0]]), fmm)
>>> np.round(exafmm.laplace.evaluate(tree, fmm), 12) + 0.0
array([[ 0.5 ,  0.  ,  0.  , -0.25]])
>>> stand_in.uninstall()
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import numpy as np

import taskfmm
from taskfmm.errors import InputError
from taskfmm.interop.given import unmasked
from taskfmm.interop.stand_in import StandIn

OUTPUTS = ("potential", "gradient")
N_SAMPLES = 1000


class ShapeError(InputError, RuntimeError):
    """Points or charges have another shape than they should: a RuntimeError in exafmm."""


@dataclass(slots=True, eq=False)
class Sources:
    """Of `init_sources`: points float64 [n, 3], and charges [n]."""

    points: np.ndarray
    charges: np.ndarray


class Fmm:
    """Order and formula of an evaluation.

    p : the order
    ncrit : taken and not used, since taskfmm chooses the size of leaves for its own speed
    filename : of a file that `setup` leaves behind, as exafmm does with its matrices; none if empty
    """

    is_complex = False

    def __init__(self, p: int, ncrit: int, filename: str = "") -> None:
        self.p, self.ncrit, self.filename = p, ncrit, filename

    @property
    def kernel(self) -> taskfmm.kernels.Kernel:
        return taskfmm.kernels.Laplace()

    def verify(self, leafs: Tree, sample: bool = True) -> list[float]:
        """The relative l2 errors of the last potential and gradient of a tree, against the direct sum.

        leafs : ``tree.leafs``
        sample : at a thousand targets drawn at random, or at all
        """
        found = leafs.found or leafs.compute()
        n = N_SAMPLES if sample else max(1, leafs.plan.n_targets)
        return [leafs.plan.error_estimate(leafs.charges, found[name], n, output=name) for name in OUTPUTS]


class LaplaceFmm(Fmm):
    """Of 1 / (4 pi r)."""


class _FmmOfWavenumber(Fmm):
    """wavek : 0 gives the kernel 1 / (4 pi r)"""

    def __init__(self, p: int, ncrit: int, wavek: Any, filename: str = "") -> None:
        super().__init__(p, ncrit, filename)
        self.wavek = wavek


class HelmholtzFmm(_FmmOfWavenumber):
    """Of exp(i k r) / (4 pi r), with the wavenumber k, whose imaginary part is a decay."""

    is_complex = True

    @property
    def kernel(self) -> taskfmm.kernels.Kernel:
        return taskfmm.kernels.Helmholtz(self.wavek) if self.wavek else super().kernel


class ModifiedHelmholtzFmm(_FmmOfWavenumber):
    """Of exp(-k r) / (4 pi r)."""

    @property
    def kernel(self) -> taskfmm.kernels.Kernel:
        return taskfmm.kernels.Yukawa(self.wavek) if self.wavek else super().kernel


@dataclass(slots=True, eq=False)
class Tree:
    """Of `setup`: a plan and its charges.

    found : the outputs of the last evaluation
    """

    fmm: Fmm
    plan: taskfmm.Fmm
    charges: np.ndarray
    found: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def leafs(self) -> Tree:
        """For `Fmm.verify`."""
        return self

    def compute(self) -> dict[str, np.ndarray]:
        (self.found,) = dask.compute(self.plan.evaluate(self.charges, OUTPUTS))
        return self.found


def init_sources(X: Any, q: Any) -> Sources:
    """Points (n, 3) and their charges (n,), copied."""
    points = _points("X of init_sources", X)
    return Sources(points, _charges(q, len(points)))


def init_targets(X: Any) -> np.ndarray:
    """Points (m, 3), copied."""
    return _points("X of init_targets", X)


def setup(sources: Sources, targets: np.ndarray, fmm: Fmm) -> Tree:
    """Plan for these points, and leave the file that callers remove."""
    same = np.array_equal(sources.points, targets)
    plan = taskfmm.Fmm(sources.points, None if same else targets, kernel=fmm.kernel, order=fmm.p)
    if fmm.filename:
        Path(fmm.filename).touch()
    return Tree(fmm, plan, sources.charges)


def update_charges(tree: Tree, charges: Any) -> None:
    """Other charges (n,) for the same points, in their order."""
    tree.charges = _charges(charges, tree.plan.n_sources)


def clear_values(tree: Tree) -> None:
    """Forget the last values. An evaluation never adds to those of the one before, whether this is called or not."""
    tree.found = {}


def evaluate(tree: Tree, fmm: Fmm, verbose: bool = False) -> np.ndarray:
    """The potential and its three derivatives at every target, a new array (m, 4), float64 or complex128.

    verbose : without effect; `taskfmm.profile` tells times
    """
    if fmm is not tree.fmm:
        raise InputError("this tree was set up with another Fmm object: call setup again for this one")
    found = tree.compute()
    dtype = np.result_type(found["potential"], complex if fmm.is_complex else float)
    values = np.empty((tree.plan.n_targets, 4), dtype)
    values[:, 0], values[:, 1:] = found["potential"], found["gradient"]
    return values


def _points(name: str, given: Any) -> np.ndarray:
    points = np.array(unmasked(name, given), dtype=np.float64, order="C")
    if points.ndim != 2 or points.shape[1] != 3:
        raise ShapeError(f"{name} has shape {points.shape}, expected (n, 3): one row for each point")
    return points


def _charges(given: Any, n: int) -> np.ndarray:
    """A copy, float64 or complex128."""
    charges = np.asarray(unmasked("charges", given))
    if charges.shape != (n,):
        raise ShapeError(f"charges have shape {charges.shape}, expected ({n},): one for each source")
    return charges.astype(np.complex128 if charges.dtype.kind == "c" else np.float64)


FUNCTIONS = (init_sources, init_targets, setup, update_charges, clear_values, evaluate)
CLASSES = {"laplace": LaplaceFmm, "helmholtz": HelmholtzFmm, "modified_helmholtz": ModifiedHelmholtzFmm}


def install() -> StandIn:
    """Let ``import exafmm`` give these modules, from now on or as long as a ``with`` block lasts.

    Returns
    -------
    StandIn
        Its ``uninstall()`` puts back another exafmm that had been imported before.
    """
    common = {each.__name__: each for each in (*FUNCTIONS, Tree)}
    return StandIn("exafmm", {}, {name: common | {fmm.__name__: fmm} for name, fmm in CLASSES.items()})
