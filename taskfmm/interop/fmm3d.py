"""The functions of fmm3dpy, computed by taskfmm: programs that call that package run unchanged.

Arguments, layouts, signs and units are those of fmm3dpy 2.1: points and vectors [3, n], densities [nd, ...] first,
results in Fortran order, and sums with the factor 1 / (4 pi); see `install` for those of fmm3dpy 1.x, without it.
"""

from __future__ import annotations

from typing import Any, NoReturn

from taskfmm import kernels
from taskfmm.interop.fmm3d_fields import Output, comperr, flow, scalar, unscaled
from taskfmm.interop.stand_in import StandIn
from taskfmm.interop.sums import FEW

__all__ = [
    "Output",
    "comperr",
    "em3ddir",
    "emfmm3d",
    "h3ddir",
    "hfmm3d",
    "l3ddir",
    "lfmm3d",
    "st3ddir",
    "stfmm3d",
]

FEW_WAVES = 1_000_000_000
"""Pairs of waves that are summed: operators of a wavenumber and a width of boxes take longer to make."""


def lfmm3d(
    *,
    eps: float,
    sources: Any,
    charges: Any = None,
    dipvec: Any = None,
    targets: Any = None,
    pg: int = 0,
    pgt: int = 0,
    nd: int = 1,
) -> Output:
    """Potentials of charges c and dipoles v, with r = x - y from the source to the target and R = |r|:

        pot(x) = sum of c / (4 pi R) + v . r / (4 pi R^3)

    Parameters
    ----------
    eps : float
        The relative l2 error of each field, of each density. Where it is too small for taskfmm, up to a billion pairs
        are summed one by one; of more, an eps of 1e-10 or less becomes the smallest of 10, 100, ... times it that
        can be kept, and the log tells; with a larger one all pairs are summed.
    sources, targets : array_like, (3, n) and (3, m)
        A point closer to a source than 2^-51 of the width of the cloud is in its place; such a pair adds nothing.
    charges : array_like, (n,), or (nd, n) where nd > 1
    dipvec : array_like, (3, n), or (nd, 3, n)
    pg, pgt : int
        What is computed at the sources, and at the targets: 1 the potential, 2 the gradient too, 3 the Hessian too.
        Where there are targets and a pg, both have to be equal.
    nd : int
        Vectors of charges and dipoles.

    Returns
    -------
    Output
        ``pot`` [n], ``grad`` [3, n], ``hess`` [6, n] with xx, yy, zz, xy, xz, yz, and the same of the targets as
        ``pottarg``, ``gradtarg``, ``hesstarg``; with nd > 1 that is their first axis.

    Raises
    ------
    AssertionError
        Shapes or flags that do not fit.
    taskfmm.InputError
        Values that are not finite.
    """
    return scalar("laplace", FEW, eps, sources, charges, dipvec, targets, pg, pgt, nd)


def hfmm3d(
    *,
    eps: float,
    zk: complex,
    sources: Any,
    charges: Any = None,
    dipvec: Any = None,
    targets: Any = None,
    pg: int = 0,
    pgt: int = 0,
    nd: int = 1,
) -> Output:
    """As `lfmm3d` of waves exp(i zk R) / (4 pi R) and their dipoles; there is no Hessian, as in fmm3dpy.

    Up to a billion pairs are summed one by one, and more where eps cannot be kept, as in a cloud of many wavelengths.

    Raises
    ------
    NotImplementedError
        zk is 0, or its imaginary part is negative.
    """
    return scalar(_waves(zk), FEW_WAVES, eps, sources, charges, dipvec, targets, pg, pgt, nd)


def stfmm3d(
    *,
    eps: float,
    sources: Any,
    stoklet: Any = None,
    strslet: Any = None,
    strsvec: Any = None,
    rotlet: Any = None,
    rotvec: Any = None,
    doublet: Any = None,
    doubvec: Any = None,
    targets: Any = None,
    ifppreg: int = 0,
    ifppregtarg: int = 0,
    nd: int = 1,
) -> Output:
    """Stokes flow of a viscosity of 1, by the formulas of `taskfmm.kernels.Stokes`, around forces ``stoklet``,
    stresslets, rotlets, and doublets d, v: the stresslet and the rotlet of d and v less the source
    (d . v) r / (4 pi R^3).

    Parameters
    ----------
    stoklet, strslet, strsvec, rotlet, rotvec, doublet, doubvec : array_like, (3, n), or (nd, 3, n) where nd > 1
        The second of a pair is the orientation.
    ifppreg, ifppregtarg : int
        At the sources, and at the targets: 1 the velocity, 2 the pressure too, 3 the velocity gradient too.
    eps, sources, targets, nd
        As for `lfmm3d`.

    Returns
    -------
    Output
        ``pot`` [nd, 3, n] the velocity, ``pre`` [nd, n], ``grad`` [nd, 3, 3, n] where [:, i, j] is the derivative of
        component j by coordinate i; the same of the targets. nd is their first axis even if it is 1.
    """
    strengths = stoklet, strslet, strsvec, rotlet, rotvec, doublet, doubvec
    return flow(eps, sources, strengths, targets, ifppreg, ifppregtarg, nd)


def l3ddir(
    *,
    sources: Any,
    targets: Any,
    charges: Any = None,
    dipvec: Any = None,
    pgt: int = 0,
    nd: int = 1,
    thresh: float = 1e-16,
) -> Output:
    """What `lfmm3d` gives at the targets, summed over all pairs.

    A ``gradtarg`` beside a Hessian of one density is [1, 3, m], as in fmm3dpy.

    Raises
    ------
    NotImplementedError
        Pairs are apart, but not by more than ``thresh``, and this is no rounding error.
    """
    out = scalar("laplace", None, 0.0, sources, charges, dipvec, targets, 0, pgt, nd, thresh)
    if out.hesstarg is not None and nd == 1:
        out.gradtarg = out.gradtarg[None]
    return out


def h3ddir(
    *,
    zk: complex,
    sources: Any,
    targets: Any,
    charges: Any = None,
    dipvec: Any = None,
    pgt: int = 0,
    nd: int = 1,
    thresh: float = 1e-16,
) -> Output:
    """What `hfmm3d` gives at the targets, summed over all pairs; ``thresh`` is that of `l3ddir`."""
    return scalar(_waves(zk), None, 0.0, sources, charges, dipvec, targets, 0, pgt, nd, thresh)


def st3ddir(
    *,
    eps: float,
    sources: Any,
    stoklet: Any = None,
    strslet: Any = None,
    strsvec: Any = None,
    rotlet: Any = None,
    rotvec: Any = None,
    doublet: Any = None,
    doubvec: Any = None,
    targets: Any = None,
    ifppreg: int = 0,
    ifppregtarg: int = 0,
    nd: int = 1,
    thresh: float = 1e-16,
) -> Output:
    """What `stfmm3d` gives, summed over all pairs, whatever ``eps`` is; ``thresh`` is that of `l3ddir`.

    There may be any number of targets, while fmm3dpy 2.1 needs as many as sources.
    """
    strengths = stoklet, strslet, strsvec, rotlet, rotvec, doublet, doubvec
    return flow(None, sources, strengths, targets, ifppreg, ifppregtarg, nd, thresh)


def emfmm3d(**_: Any) -> NoReturn:
    """Not offered: raises NotImplementedError."""
    raise NotImplementedError(
        "taskfmm has no Maxwell sums: call hfmm3d with pg or pgt = 2 for each component of e_current, h_current and "
        "for e_charge, and put E together from potentials and gradients; curlE and divE stay with fmm3dpy"
    )


def em3ddir(**_: Any) -> NoReturn:
    """Not offered: raises NotImplementedError."""
    raise NotImplementedError("taskfmm has no Maxwell sums: call h3ddir as for emfmm3d, see its error")


def install(scaling: str = "2") -> StandIn:
    """Let ``import fmm3dpy`` give these functions, from now on or as long as a ``with`` block lasts.

    Parameters
    ----------
    scaling : "2" or "1"
        Whose sums the program expects. Those of fmm3dpy 2 have the factor 1 / (4 pi). Those of fmm3dpy 1 are 4 pi
        times as large, 1 / R and exp(i zk R) / R, and their stresslets have the opposite sign; rotlets and doublets
        are refused, as there.

    Returns
    -------
    StandIn
        Its ``uninstall()`` puts back what was there.

    Examples
    --------
    >>> import numpy as np
    >>> from taskfmm.interop import fmm3d
    >>> with fmm3d.install():
    ...     import fmm3dpy
    ...     out = fmm3dpy.lfmm3d(eps=1e-6, sources=np.array([[0, 0], [0, 0], [0, 2.0]]), charges=np.ones(2), pg=1)
    >>> 4 * np.pi * out.pot
    array([0.5, 0.5])
    """
    if scaling not in ("1", "2"):
        raise ValueError(f'scaling is {scaling!r}, expected "2" for sums with 1 / (4 pi), or "1" without')
    contents = {name: globals()[name] for name in __all__} | {"__version__": "2.1.0"}
    if scaling == "1":
        names = ("lfmm3d", "l3ddir", "hfmm3d", "h3ddir", "stfmm3d", "st3ddir")
        contents |= {name: unscaled(contents[name]) for name in names} | {"__version__": "1.0.4"}
    return StandIn("fmm3dpy", contents, {"fmm3d": contents})


def _waves(zk: complex) -> Any:
    if complex(zk) == 0.0:
        raise NotImplementedError(
            "zk is 0: call lfmm3d, for the real and for the imaginary parts of the charges"
        )
    if complex(zk).imag < 0.0:
        raise NotImplementedError(
            f"zk is {zk}, and its waves grow as they travel: give the conjugates of zk and of the charges, and take "
            "those of the results, if the time is exp(i w t); else call fmm3dpy"
        )
    return kernels.Helmholtz(k=zk)
