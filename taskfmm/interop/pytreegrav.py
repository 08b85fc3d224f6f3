"""The gravity of pytreegrav, computed by taskfmm: programs that call that package run unchanged.

Arguments, signs and units are those of pytreegrav 1.5: potentials -G m / r, and accelerations, of bodies, each of
which is spread as a cubic spline within its softening length. A pair has the larger length of both, and adds nothing
if it is in one place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from taskfmm.errors import InputError
from taskfmm.interop.pytreegrav_tree import Tree, eps_of, points_of
from taskfmm.interop.stand_in import StandIn

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
    points = points_of(pos)
    return Tree(points, [0.0] * len(points) if m is None else m, softening, quadrupole)


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
        The opening angle becomes an eps by the table ``EPS`` of `taskfmm.interop.pytreegrav_tree`, with which errors
        are below those of pytreegrav at this angle, with or without ``quadrupole``. 0 sums all pairs.
    tree : what `ConstructTree` made, optional
        Its bodies attract, instead of those that are given; ``pos`` and ``softening`` are the targets.
    return_tree : bool
        Whether to return the tree as well, None where all pairs were summed.
    method : "adaptive", "bruteforce" or "tree"
        "adaptive" sums up to 1000 bodies pair by pair if no tree is given.
    parallel, group_size
        Accepted. Threads are those of Dask's scheduler.

    Returns
    -------
    float64 [n], or that and the tree
    """
    return _at_bodies("potential", pos, m, softening, G, theta, tree, return_tree, method, quadrupole, device)


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
    return _at_bodies(
        "acceleration", pos, m, softening, G, theta, tree, return_tree, method, quadrupole, device
    )


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
        "potential", pos_target, softening_target, sources, G, theta, tree, return_tree, method, quadrupole
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
        "acceleration", pos_target, softening_target, sources, G, theta, tree, return_tree, method, quadrupole
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
    contents["__version__"] = "1.5.0"
    return StandIn("pytreegrav", contents, {"frontend": contents})


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
    quadrupole: bool,
    device: str,
) -> Any:
    if device != "cpu":
        raise NotImplementedError(f'device is {device!r}: taskfmm runs on "cpu" only')
    _refuse_other(tree)
    n = len(points_of(pos))
    exact = _is_exact(method, tree is None and n <= FEW_BODIES)
    own = ConstructTree(pos, m, softening) if exact or tree is None else tree
    targets, lengths = (None, None) if own is not tree else (pos, softening)
    values = own.evaluate(output, targets, lengths, G, 0.0 if exact else eps_of(theta, output, quadrupole))
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
    quadrupole: bool,
) -> Any:
    _refuse_other(tree)
    pos, m, _ = sources
    if tree is None and (pos is None or m is None):
        raise ValueError("there is neither a tree nor pos_source and m_source: give one of them")
    few = pos is not None and len(points_of(targets)) * len(points_of(pos)) <= FEW_PAIRS
    exact = _is_exact(method, few)
    own = ConstructTree(*sources) if tree is None or (exact and pos is not None) else tree
    values = own.evaluate(output, targets, lengths, G, 0.0 if exact else eps_of(theta, output, quadrupole))
    return (values, None if exact else own) if return_tree else values


def _refuse_other(tree: Any) -> None:
    """Raise InputError for a tree of pytreegrav itself, as one that was made before `install`."""
    if not (tree is None or isinstance(tree, Tree)):
        raise InputError(
            f"tree is {type(tree).__module__}.{type(tree).__name__}, expected one of ConstructTree or return_tree of "
            "this module: make it again"
        )


def _is_exact(method: str, few: bool) -> bool:
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    return method == "bruteforce" or (method == "adaptive" and few)


def _not_offered(name: str) -> Callable[..., NoReturn]:
    def function(*_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(
            f"taskfmm does not offer {name}: call that of pytreegrav; for tides, evaluate the output "
            '"tide" of taskfmm.kernels.Gravity'
        )

    return function
