"""Columns of which the last is the first moment of the three before it.

Three columns are sums of f / r over the sources, one for each component of a vector f, and the last is the sum of
y . f / r, with y the place of the source. Places are measured from the centre of the box that an expansion belongs
to, in its half-widths. About a point far away, as the centre of the root, each level of the tree would cost a bit.

So the last column changes when an expansion goes from box to box: about c' the first moment is that about c, plus
(c - c') . f. Formulas know nothing of it, since they get the offset d from a source to a target alone. What a check
point receives, and what a density does, is completed here with the place of that point, or of the density.
"""

from __future__ import annotations

import numpy as np

from taskfmm.geometry import surface

UP = np.column_stack([surface.octant_centers(), np.full(8, 0.5)])
"""By octant, what the columns of a child are multiplied by to give the last one about the centre of its parent."""

DOWN = 2.0 * np.column_stack([-surface.octant_centers(), np.ones(8)])
"""The same from a parent to its child, whose unit of length is half as long."""

COLUMNS = 4
"""Of one vector of sources."""

NONE = np.empty((0, 4))
"""Where there is no first moment."""


def received(potentials: np.ndarray, points: np.ndarray) -> None:
    """Complete what check points receive: a source at y = x - d has the moment x . f - d . f.

    potentials : float64 [..., 4, n], the last row with what the formulas give, the part of d
    points : float64 [3, n], places x of the check points, from the centre of the box
    """
    potentials[..., 3, :] += np.einsum("an,...an->...n", points, potentials[..., :3, :])


def at_densities(densities: np.ndarray, points: np.ndarray) -> None:
    """Refer first moments of densities to their own places s, as formulas take them: s . f is taken away.

    densities : float64 [..., 4, n]; points : float64 [3, n], places s
    """
    densities[..., 3, :] -= np.einsum("an,...an->...n", points, densities[..., :3, :])


def move(rows: np.ndarray, weights: np.ndarray) -> None:
    """Refer expansions to another centre.

    rows : float64 [..., 4, k]; weights : float64 [4], as one of `UP`
    """
    rows[..., 3, :] = np.einsum("a,...ak->...k", weights, rows)


def across(offset: np.ndarray) -> np.ndarray:
    """The weights of M2L, from a box to one that lies so many boxes away: float64 [4]; offset : [3]"""
    return np.append(-2.0 * offset, 1.0)


def without_constant(locals_: np.ndarray, check_to_local: np.ndarray) -> None:
    """Take away from the last column its mean over the check surface.

    Outputs hang on the gradient of this potential alone. About the centre of a small box far from all sources it is
    nearly constant, and more than its change across the box by the distance over the width of the box. Expansions
    err relative to the whole.

    locals_ : float64 [n, 4, k]; check_to_local : float64 [n_check, k], whose rows are orthonormal but for the cut
    """
    constant = check_to_local.sum(axis=0)
    locals_[:, 3] -= np.multiply.outer(locals_[:, 3] @ constant / (constant @ constant), constant)
