"""The compiled loops of `taskfmm.passes.share`."""

from __future__ import annotations

import numpy as np

from taskfmm.jit import jit

WINDOW = 4
"""Sources on either side, in Morton order, among which the nearest is looked for."""

ISOLATED = 0.4
"""A pair is close if its distance is less than this part of the distance to the second nearest source, and of what is
usual in the leaf: then no other can cancel what the nearest does. On lines and grids no pair is."""

CHANCE = 2.0
"""Random charges differ between octants by 7/8 of the sum of their squares, with a deviation of half of that."""


@jit
def sum_boxes(child_ptr, ptr, points, charges, center, lower):
    """Sums over the points of every box, children before parents.

    Returns
    -------
    weight : float64 [2, n_boxes], sums of the positive charges and of the magnitudes of the negative ones
    place : float64 [2, 3, n_boxes], where these are in the mean, measured from ``lower``, so that nothing is lost far
        from the origin; the centre of the box if there are none
    squares : sum of the squares of the charges; those that fill a box evenly, or have random signs, err as its root
    together : how far the sums in the eight octants are from equal, beyond what chance does. Equal charges on a line
        or a plane err together, in this proportion, and so do all boxes that they pass through.
    """
    n = child_ptr.size - 1
    weight, place = np.zeros((2, n)), np.zeros((2, 3, n))
    squares, together = np.zeros(n), np.zeros(n)
    octants = np.zeros(8)
    for b in range(n - 1, -1, -1):
        octants[:] = 0.0
        first, last = child_ptr[b], child_ptr[b + 1]
        for c in range(first, last):
            octants[c - first] = weight[0, c] - weight[1, c]
            squares[b] += squares[c]
            for sign in range(2):
                weight[sign, b] += weight[sign, c]
                for axis in range(3):
                    place[sign, axis, b] += place[sign, axis, c]
        if first == last:
            for j in range(ptr[b, 0], ptr[b, 1]):
                octant, sign, size = 0, int(charges[j] < 0.0), abs(charges[j])
                for axis in range(3):
                    octant = 2 * octant + int(points[axis, j] > center[axis, b])
                    place[sign, axis, b] += size * (points[axis, j] - lower[axis])
                octants[octant] += charges[j]
                squares[b] += size * size
                weight[sign, b] += size
        uneven = (octants**2).sum() - octants.sum() ** 2 / 8.0
        together[b] = np.sqrt(max(0.0, uneven - CHANCE * squares[b]))
    for b in range(n):
        for sign in range(2):
            for axis in range(3):
                if weight[sign, b] > 0.0:
                    place[sign, axis, b] /= weight[sign, b]
                else:
                    place[sign, axis, b] = center[axis, b] - lower[axis]
    return weight, place, squares, together


@jit
def _distance(target, place, b, a):
    r2 = 0.0
    for axis in range(3):
        r2 += (target[axis, b] - place[axis, a]) ** 2
    return np.sqrt(r2)


@jit
def descend(
    parent,
    v_ptr,
    v_idx,
    x_ptr,
    x_idx,
    w_ptr,
    w_idx,
    target,
    weight,
    place,
    squares,
    together,
    degree,
    derivative,
):
    """What reaches a box through its lists and those of its ancestors.

    target : float64 [3, n_boxes], where the targets of a box are in the mean; others as from `sum_boxes`

    Returns
    -------
    far : square of what their charges do to a derivative, 0 or 1, of the kernel; those that err together add up first
    field : their potential
    """
    n = parent.size
    far, line, field = np.zeros(n), np.zeros(n), np.zeros(n)
    for b in range(n):
        if parent[b] >= 0:
            far[b] = far[parent[b]]
            line[b] = line[parent[b]]
            field[b] = field[parent[b]]
        for ptr, idx in ((v_ptr, v_idx), (x_ptr, x_idx), (w_ptr, w_idx)):
            for e in range(ptr[b], ptr[b + 1]):
                a = idx[e]
                plus, minus = _distance(target, place[0], b, a), _distance(target, place[1], b, a)
                if plus == 0.0 or minus == 0.0:
                    continue
                size = (plus if weight[0, a] > weight[1, a] else minus) ** (degree - derivative)
                far[b] += squares[a] * size**2
                line[b] += together[a] * size
                field[b] += weight[0, a] * plus**degree - weight[1, a] * minus**degree
    return far + line**2, field


@jit
def _nearest(sources, charges, targets, i, at):
    """Squared distances of the nearest and the second nearest of the sources around ``at``; the nearest's charge."""
    nearest, second, charge = np.inf, np.inf, 0.0
    for j in range(max(0, at - WINDOW), min(charges.size, at + WINDOW + 1)):
        r2 = 0.0
        for axis in range(3):
            r2 += (targets[axis, i] - sources[axis, j]) ** 2
        if r2 > 0.0 and r2 < nearest:
            second = nearest
            nearest, charge = r2, charges[j]
        elif r2 > 0.0 and r2 < second:
            second = r2
    return nearest, second, charge


@jit
def close_pairs(sources, charges, targets, leaves, source_ptr, target_ptr, degree):
    """Sum over the targets of squared gradients by their nearest source, where no other is nearly as near."""
    found = 0.0
    for leaf in leaves:
        first, n_sources = source_ptr[leaf, 0], source_ptr[leaf, 1] - source_ptr[leaf, 0]
        begin, n_targets = target_ptr[leaf, 0], target_ptr[leaf, 1] - target_ptr[leaf, 0]
        usual = 0.0  # sum over the targets of 1 / distance**2 to the nearest
        for i in range(n_targets):
            nearest, _, _ = _nearest(sources, charges, targets, begin + i, first + i * n_sources // n_targets)
            usual += 1.0 / nearest
        for i in range(n_targets):
            at = first + i * n_sources // n_targets
            nearest, second, charge = _nearest(sources, charges, targets, begin + i, at)
            if nearest < ISOLATED**2 * min(second, n_targets / usual):
                found += charge**2 * nearest**degree
    return found
