"""The gravity of pytreegrav, computed by taskfmm: programs that call that package run unchanged.

Arguments, signs and units are those of pytreegrav 1.5: potentials -G m / r, and accelerations, of bodies, each of
which is spread as a cubic spline within its softening length. A pair has the larger length of both, and adds nothing
if it is in one place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from taskfmm import kernels
from taskfmm.interop.stand_in import StandIn
from taskfmm.interop.sums import Plans, evaluate

__all__ = ["Accel", "AccelTarget", "ConstructTree", "Potential", "PotentialTarget"]

NOT_OFFERED = (
    "TidalTensor",
    "TidalTensorTarget",
    "DensityCorrFunc",
    "VelocityCorrFunc",
    "VelocityStructFunc",
    "ColumnDensity",
)

METHODS = ("adaptive", "bruteforce", "tree")

FEW_BODIES, FEW_PAIRS = 1000, 1_000_000
"""Up to which "adaptive" sums all pairs, as in pytreegrav; the second where targets are separate."""

EPS = {0.0: 1e-9, 0.1: 1e-6, 0.2: 1e-5, 0.3: 1e-4, 0.5: 1e-4, 0.7: 1e-3, 1.0: 1e-3}
"""Of an opening angle and those above it."""


class Tree:
    """Bodies, and the last plan that was made of them.

    NumParticles : int
    HasQuads : bool, whether it was asked for quadrupoles
    """

    def __init__(self, pos: Any, m: Any, softening: Any, quadrupole: bool) -> None:
        self._points, self._masses = _points(pos), _numbers(m)
        self._lengths = np.zeros(len(self._points)) if softening is None else _numbers(softening)
        self._plans = Plans(1)
        self.NumParticles, self.HasQuads = len(self._points), bool(quadrupole)

    def _evaluate(self, output: str, targets: Any, lengths: Any, G: float, eps: float) -> np.ndarray:
        """An output at targets, which have lengths of their own; targets None for the bodies themselves. eps 0 sums
        all pairs."""
        points, masses, h, first = self._points, self._masses, self._lengths, 0
        at = None if targets is None else _points(targets)
        of_targets = np.zeros(0 if at is None else len(at)) if lengths is None else _numbers(lengths)
        if at is not None and np.array_equal(at, points) and np.array_equal(of_targets, h):
            at = None
        elif at is not None and of_targets.max(initial=0.0) > h.min(initial=np.inf):
            # targets that are softened become bodies without mass
            first = len(points)
            points, h, at = np.vstack([points, at]), np.append(h, of_targets), None
            masses = np.append(masses, np.zeros(len(of_targets)))
        kernel = kernels.Gravity(softening=h if h.any() else 0.0, kind="spline")
        few = 0 if eps else np.inf
        found = evaluate(kernel, eps, points, at, (output,), {"masses": masses}, few=few, plans=self._plans)
        return G * found[output][first:]


def ConstructTree(
    pos: Any,
    m: Any = None,
    softening: Any = None,
    quadrupole: bool = False,
    vel: Any = None,
    compute_moments: bool = True,
    morton_order: bool = True,
    radix: bool = True,
) -> Tree:
    """Bodies for the ``tree`` of the other functions, which plan them once for each theta.

    Parameters
    ----------
    pos : array_like, (n, 3)
    m, softening : array_like, (n,), optional
        Zeros if left out.

    Raises
    ------
    NotImplementedError
        With velocities: taskfmm has no correlation functions.
    """
    if vel is not None:
        raise NotImplementedError(
            "taskfmm has no trees of velocities: call pytreegrav's own functions for them"
        )
    points = _points(pos)
    return Tree(points, np.zeros(len(points)) if m is None else m, softening, quadrupole)


def Potential(
    pos: Any,
    m: Any,
    softening: Any = None,
    G: float = 1.0,
    theta: float = 0.7,
    tree: Tree | None = None,
    return_tree: bool = False,
    parallel: bool = False,
    method: str = "adaptive",
    quadrupole: bool = False,
    group_size: int = 8,
    device: str = "cpu",
) -> Any:
    """Potentials at bodies.

    Parameters
    ----------
    pos : array_like, (n, 3)
    m : array_like, (n,)
    softening : array_like, (n,), optional
        The radius of each body, beyond which it attracts as a point does; 0 if left out.
    G : float
    theta : float
        The opening angle becomes an eps by the table ``EPS``, with which errors are below those of pytreegrav at this
        angle, with or without quadrupoles. 0 sums all pairs.
    tree : what `ConstructTree` made, optional
        Its bodies attract, instead of those that are given; ``pos`` and ``softening`` are the targets.
    return_tree : bool
        Whether to return the tree as well, None where all pairs were summed.
    method : "adaptive", "bruteforce" or "tree"
        "adaptive" sums up to 1000 bodies pair by pair if no tree is given.
    parallel, quadrupole, group_size
        Accepted. Threads are those of Dask's scheduler.

    Returns
    -------
    float64 [n], or that and the tree
    """
    return _at_bodies("potential", pos, m, softening, G, theta, tree, return_tree, method, device)


def Accel(
    pos: Any,
    m: Any,
    softening: Any = None,
    G: float = 1.0,
    theta: float = 0.7,
    tree: Tree | None = None,
    return_tree: bool = False,
    parallel: bool = False,
    method: str = "adaptive",
    quadrupole: bool = False,
    group_size: int = 8,
    device: str = "cpu",
) -> Any:
    """Accelerations [n, 3] of bodies; arguments as for `Potential`."""
    return _at_bodies("acceleration", pos, m, softening, G, theta, tree, return_tree, method, device)


def PotentialTarget(
    pos_target: Any,
    pos_source: Any,
    m_source: Any,
    softening_target: Any = None,
    softening_source: Any = None,
    G: float = 1.0,
    theta: float = 0.7,
    tree: Tree | None = None,
    return_tree: bool = False,
    parallel: bool = False,
    method: str = "adaptive",
    quadrupole: bool = False,
    group_size: int = 8,
) -> Any:
    """Potentials at targets.

    Parameters
    ----------
    pos_target : array_like, (m, 3)
    pos_source, m_source : array_like, (n, 3) and (n,); None where there is a tree
    softening_target, softening_source : array_like, (m,) and (n,), optional
        Where a target has a larger length than a source, targets take part as bodies without mass, and the error is
        relative to values at sources and targets together.
    method : "adaptive", "bruteforce" or "tree"
        "adaptive" sums up to a million pairs one by one.
    G, theta, tree, return_tree, parallel, quadrupole, group_size
        As for `Potential`.

    Returns
    -------
    float64 [m], or that and the tree
    """
    sources = pos_source, m_source, softening_source
    return _at_targets(
        "potential", pos_target, softening_target, sources, G, theta, tree, return_tree, method
    )


def AccelTarget(
    pos_target: Any,
    pos_source: Any,
    m_source: Any,
    softening_target: Any = None,
    softening_source: Any = None,
    G: float = 1.0,
    theta: float = 0.7,
    tree: Tree | None = None,
    return_tree: bool = False,
    parallel: bool = False,
    method: str = "adaptive",
    quadrupole: bool = False,
    group_size: int = 8,
) -> Any:
    """Accelerations [m, 3] at targets; arguments as for `PotentialTarget`."""
    sources = pos_source, m_source, softening_source
    return _at_targets(
        "acceleration", pos_target, softening_target, sources, G, theta, tree, return_tree, method
    )


def install() -> StandIn:
    """Let ``import pytreegrav`` give these functions, from now on or as long as a ``with`` block lasts.

    Returns
    -------
    StandIn
        Its ``uninstall()`` puts back what was there.

    Examples
    --------
    >>> from taskfmm.interop import pytreegrav
    >>> with pytreegrav.install():
    ...     from pytreegrav import Potential
    >>> Potential([[0, 0, 0], [0, 0, 2]], [1, 3])
    array([-1.5, -0.5])
    """
    contents = {name: globals()[name] for name in __all__} | {
        name: _not_offered(name) for name in NOT_OFFERED
    }
    return StandIn("pytreegrav", contents | {"__version__": "1.5.0"}, submodules=("frontend",))


def _at_bodies(
    output: str,
    pos: Any,
    m: Any,
    softening: Any,
    G: float,
    theta: float,
    tree: Tree | None,
    return_tree: bool,
    method: str,
    device: str,
) -> Any:
    if device != "cpu":
        raise NotImplementedError(f'device is {device!r}: taskfmm runs on "cpu" only')
    n = len(_points(pos))
    exact = _is_exact(method, tree is None and n <= FEW_BODIES)
    own = ConstructTree(pos, m, softening) if exact or tree is None else tree
    targets, lengths = (None, None) if own is not tree else (pos, softening)
    values = own._evaluate(output, targets, lengths, G, 0.0 if exact else eps_of(theta))
    return (values, None if exact else own) if return_tree else values


def _at_targets(
    output: str,
    targets: Any,
    lengths: Any,
    sources: tuple[Any, Any, Any],
    G: float,
    theta: float,
    tree: Tree | None,
    return_tree: bool,
    method: str,
) -> Any:
    pos, m, _ = sources
    if tree is None and (pos is None or m is None):
        raise ValueError("there is neither a tree nor pos_source and m_source: give one of them")
    few = pos is not None and len(_points(targets)) * len(_points(pos)) <= FEW_PAIRS
    exact = _is_exact(method, few)
    own = ConstructTree(*sources) if tree is None or (exact and pos is not None) else tree
    values = own._evaluate(output, targets, lengths, G, 0.0 if exact else eps_of(theta))
    return (values, None if exact else own) if return_tree else values


def eps_of(theta: float) -> float:
    """The relative l2 error for an opening angle; 0 where all pairs are to be summed."""
    return EPS[max(angle for angle in EPS if angle <= theta)] if theta > 0.0 else 0.0


def _is_exact(method: str, few: bool) -> bool:
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    return method == "bruteforce" or (method == "adaptive" and few)


def _points(array: Any) -> np.ndarray:
    return np.array(np.atleast_2d(array), np.float64, order="C")


def _numbers(array: Any) -> np.ndarray:
    return np.array(np.atleast_1d(array), np.float64)


def _not_offered(name: str) -> Callable[..., NoReturn]:
    def function(*_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(
            f"taskfmm does not offer {name}: call that of pytreegrav; for tides, evaluate the output "
            '"tide" of taskfmm.kernels.Gravity'
        )

    return function
