"""The compiled loops of `taskfmm.passes.share`."""

from __future__ import annotations

import numpy as np

from taskfmm.jit import jit

WINDOW = 4
"""Sources on either side, in Morton order, among which the nearest is looked for."""

ISOLATED = 0.4
"""A pair is close if its distance is less than this part of the distance to the second nearest source, and of what is
usual in the leaf: then few others can cancel what the nearest does. On lines and grids no pair is."""

VERY_NEAR = 0.1
"""In half-widths of a leaf. From here on sums in float32 have five digits, or less only where sources cancel."""

CHANCE = 1.8
"""Random charges differ between octants by 7/8 of the sum of their squares, with a deviation of half of that."""

SPREAD_OUT = 0.3
"""Charges that fill half of a box or more have octants whose sums, squared, are at most this part of their own."""

NARROW = 0.5
"""In half-widths of a box: charges that are nearer to their middle err together, also with those in boxes beside
theirs. Those that fill a box are 0.87 or more away."""

SUMMED, PLACED = 2e-7, 1e-7
"""Of the near field in float32: what rounding adds to a sum, as a part of that of magnitudes, and by how much of the
half-width of their leaf sources seem to be moved."""

THICK, UNSURE = 0.25, 2.7
"""Offsets of charges from the middle of their leaf, along an axis and in half-widths, have a variance of a third
where charges fill leaves. Less by this part of it is what densities do that change across a leaf; by this part over
the root of the number of charges, three deviations, what chance does."""

PLUS, MINUS, WEIGHT, SCATTER, TOGETHER, SPOT, SQUARES, OFFSETS = 0, 3, 6, 8, 9, 10, 11, 12
"""Columns of what is known of a box, see `sum_boxes`."""

SUMS = 18
"""How many there are."""

FAR, LINE, EACH, FIELD = 0, 1, 2, 3
"""Columns of what reaches a box, see `descend`."""


@jit
def sum_boxes(child_ptr, ptr, points, charges, center, half_width, lower, known, boxes):
    """Sums over the points of every box, children before parents.

    known : bool [n_boxes], boxes whose sums are there already

    Returns
    -------
    boxes : float64 [n_boxes, SUMS], zeros where they are not known, by column

    PLUS, MINUS : where the positive and the negative charges are in the mean, three columns each, measured from
        ``lower``, so that nothing is lost far from the origin; the centre of the box if there are none
    WEIGHT : sums of the magnitudes of the positive and of the negative charges, two columns
    SCATTER : sum of the squares of the charges; those that fill a box evenly, or have random signs, err as its root.
        If they lie in a corner of an inner box, they err as their sum, which is added squared
    TOGETHER : for a leaf, how far the sums in its eight octants are from equal, beyond what chance does; for an inner
        box the sum of its leaves. Equal charges on a line or a plane err together, in this proportion, and so do all
        boxes that they pass through.
    SQUARES : sum of the squares of the charges
    SPOT : from 1 where all charges are at one place to 0 where they are `NARROW` half-widths away from their means
    OFFSETS : sums of the magnitudes of the charges times their offset from the middle of their leaf, in half-widths,
        and of these times its square, three columns each
    """
    n = child_ptr.size - 1
    octants = np.zeros(8)
    for b in range(n - 1, -1, -1):
        if known[b]:
            continue
        # a loop, as NumPy's sums and assignments take longer to compile
        for octant in range(8):
            octants[octant] = 0.0
        squares = 0.0
        box = boxes[b]
        first, last = child_ptr[b], child_ptr[b + 1]
        for c in range(first, last):
            octants[c - first] = boxes[c, WEIGHT] - boxes[c, WEIGHT + 1]
            squares += boxes[c, SQUARES]
            for sign in range(2):
                # means are known, where others are sums still
                times = boxes[c, WEIGHT + sign] if known[c] else 1.0
                for axis in range(3 * sign, 3 * sign + 3):
                    box[axis] += times * boxes[c, axis]
                box[WEIGHT + sign] += boxes[c, WEIGHT + sign]
            box[TOGETHER] += boxes[c, TOGETHER]
            for column in range(OFFSETS, SUMS):
                box[column] += boxes[c, column]
        if first == last:
            for j in range(ptr[b, 0], ptr[b, 1]):
                octant, sign, size = 0, int(charges[j] < 0.0), abs(charges[j])
                for axis in range(3):
                    octant = 2 * octant + int(points[axis, j] > center[axis, b])
                    box[3 * sign + axis] += size * (points[axis, j] - lower[axis])
                    offset = (points[axis, j] - center[axis, b]) / half_width[b]
                    box[OFFSETS + axis] += size * offset
                    box[OFFSETS + 3 + axis] += size * offset**2
                octants[octant] += charges[j]
                squares += size * size
                box[WEIGHT + sign] += size
        total, uneven = 0.0, -CHANCE * squares
        for octant in range(8):
            total += octants[octant]
            uneven += octants[octant] ** 2
        box[SCATTER] = box[SQUARES] = squares
        if first == last:
            box[TOGETHER] = np.sqrt(max(0.0, uneven - total**2 / 8.0))
    for b in range(n):
        if known[b]:
            continue
        box = boxes[b]
        if child_ptr[b] < child_ptr[b + 1]:
            total = box[WEIGHT] - box[WEIGHT + 1]
            uneven = -CHANCE * box[SCATTER] - SPREAD_OUT * total**2
            for c in range(child_ptr[b], child_ptr[b + 1]):
                # of the children: none of them has been divided yet
                uneven += (boxes[c, WEIGHT] - boxes[c, WEIGHT + 1]) ** 2
            box[SCATTER] += max(0.0, uneven)
        for sign in range(2):
            for axis in range(3):
                if box[WEIGHT + sign] > 0.0:
                    box[3 * sign + axis] /= box[WEIGHT + sign]
                else:
                    box[3 * sign + axis] = center[axis, b] - lower[axis]
    for b in range(n):
        if known[b]:
            continue
        first, last, apart = child_ptr[b], child_ptr[b + 1], 0.0
        for c in range(first, last):
            for sign in range(2):
                apart += boxes[c, WEIGHT + sign] * _squared(boxes[b], boxes[c], 3 * sign)
        width = NARROW * half_width[b]
        if first == last:
            for j in range(ptr[b, 0], ptr[b, 1]):
                place = 3 * int(charges[j] < 0.0)
                for axis in range(3):
                    apart += abs(charges[j]) * (points[axis, j] - lower[axis] - boxes[b, place + axis]) ** 2
        weight = (boxes[b, WEIGHT] + boxes[b, WEIGHT + 1]) * width * width
        boxes[b, SPOT] = max(0.0, 1.0 - apart / weight) if weight > 0.0 else 0.0
    return boxes


@jit
def add_flat(parent, boxes):
    """Raise TOGETHER where few charges in a leaf do not tell that they lie on a line or a plane, but all below an
    ancestor do: those lie at the same place in each leaf.

    Where they fill their leaves along some axes, and along others are in one half, the squares of the sums in octants
    are together a product of 1/2 and 1 for each axis times that of their sum.
    """
    parts = np.zeros(parent.size)
    for b in range(parent.size):
        box = boxes[b]
        weight = box[WEIGHT] + box[WEIGHT + 1]
        if weight == 0.0:
            continue
        least = max(THICK, UNSURE * np.sqrt(box[SQUARES]) / weight)
        product = 1.0
        for axis in range(OFFSETS, OFFSETS + 3):
            variance = box[axis + 3] / weight - (box[axis] / weight) ** 2
            product *= 1.0 + max(0.0, 1.0 - 3.0 * variance - least) ** 2
        parts[b] = np.sqrt((product - 1.0) / 8.0)
        if parent[b] >= 0:
            parts[b] = max(parts[b], parts[parent[b]])
        signed = max(0.0, (box[WEIGHT] - box[WEIGHT + 1]) ** 2 - CHANCE * box[SQUARES])
        box[TOGETHER] = max(box[TOGETHER], parts[b] * np.sqrt(signed))


@jit
def _squared(box, child, place):
    """The squared distance between two means."""
    found = 0.0
    for axis in range(place, place + 3):
        found += (child[axis] - box[axis]) ** 2
    return found


@jit
def _power(x, n):
    """x ** n for a small n of either sign; a library call would be most of the work."""
    y = 1.0 / x if n < 0 else x
    out = 1.0
    for _ in range(abs(n)):
        out *= y
    return out


@jit
def _size(r, factor, power, first, per_step, logs):
    """What a source does at a distance, see `taskfmm.operators.radial.Radial`."""
    if logs.size == 0:
        return factor * _power(r, power)
    place = (np.log(r) - first) * per_step
    at = min(max(int(place), 0), logs.size - 2)
    return np.exp(logs[at] + (place - at) * (logs[at + 1] - logs[at]))


@jit
def _distance(x, y, z, box, first):
    return np.sqrt((x - box[first]) ** 2 + (y - box[first + 1]) ** 2 + (z - box[first + 2]) ** 2)


@jit
def descend(
    parent,
    level,
    v_ptr,
    v_idx,
    x_ptr,
    x_idx,
    w_ptr,
    w_idx,
    targets,
    boxes,
    factor,
    power,
    first,
    per_step,
    logs,
    least,
    degree,
    known,
    found,
):
    """What reaches a box through its lists and those of its ancestors.

    targets : as from `sum_boxes`, of the targets instead of the sources
    factor, power, first, per_step, logs : of the output, see `taskfmm.operators.radial.Radial`
    least : float64 [n_levels], what errors of the operators of a level are relative to, at least
    degree : power of the distance that the potential is
    known : bool [n], boxes of which it is known what reaches them

    Returns
    -------
    found : float64 [n, 4], zeros where it is not known, by column

    FAR : squares of what charges do
    LINE : what those do that err together, see TOGETHER
    EACH : what charges do if those of a box all were at one place
    FIELD : their potential
    """
    for b in range(parent.size):
        if known[b]:
            continue
        own = found[b]
        if parent[b] >= 0:
            for column in range(own.size):
                own[column] = found[parent[b], column]
        if targets[b, WEIGHT] == 0.0:
            continue
        x, y, z = targets[b, 0], targets[b, 1], targets[b, 2]
        for ptr, idx in ((v_ptr, v_idx), (x_ptr, x_idx), (w_ptr, w_idx)):
            for e in range(ptr[b], ptr[b + 1]):
                box = boxes[idx[e]]
                plus, minus = box[WEIGHT], box[WEIGHT + 1]
                r = 0.0
                if plus > 0.0:
                    r = _distance(x, y, z, box, PLUS)
                    own[FIELD] += plus * _power(r, degree)
                if minus > 0.0:
                    other = _distance(x, y, z, box, MINUS)
                    own[FIELD] -= minus * _power(other, degree)
                    r = other if minus > plus else r
                if r == 0.0:
                    continue
                # operators are those of the smaller box
                size = _size(r, factor, power, first, per_step, logs)
                size = max(size, least[max(level[b], level[idx[e]])])
                own[FAR] += box[SCATTER] * size**2
                own[LINE] += box[TOGETHER] * size
                own[EACH] += abs(plus - minus) * size
    return found


@jit
def squares_if_random(targets, ptr, begin, end, points, weights):
    """Squares of potentials 1 / r at some targets, on average over random signs of the charges: float64 [n].

    ptr, begin, end : runs of sources that each target meets; weights : squares of their charges
    """
    found = np.zeros(targets.shape[1])
    for i in range(found.size):
        x, y, z, total = targets[0, i], targets[1, i], targets[2, i], 0.0
        for e in range(ptr[i], ptr[i + 1]):
            run = slice(begin[e], end[e])  # six times as fast as rows of the whole
            px, py, pz, weight = points[0, run], points[1, run], points[2, run], weights[run]
            for j in range(weight.size):
                dx, dy, dz = px[j] - x, py[j] - y, pz[j] - z
                r2 = dx * dx + dy * dy + dz * dz
                total += weight[j] / r2 if r2 > 0.0 else 0.0
        found[i] = total
    return found


@jit
def rounding(targets, half, close, ptr, begin, end, points, charges, factor, power):
    """What rounding to float32 does to sums over near sources, squared, float64 [n].

    half : half-widths of the leaves of the targets; close : in units of them, where pairs are left to float64
    ptr, begin, end : runs of sources next to each target
    factor, power : of the output, see `taskfmm.operators.radial.Radial`
    """
    found = np.zeros(half.size)
    for i in range(half.size):
        summed, placed, nearest = 0.0, 0.0, np.inf
        for e in range(ptr[i], ptr[i + 1]):
            for j in range(begin[e], end[e]):
                x, y, z = (
                    points[0, j] - targets[0, i],
                    points[1, j] - targets[1, i],
                    points[2, j] - targets[2, i],
                )
                r = np.sqrt(x * x + y * y + z * z)
                if r > 0.0:
                    nearest = min(nearest, r)
                    does = abs(charges[j]) * factor * _power(r, power)
                    summed += does
                    placed += (does * power * half[i] / r) ** 2
        if nearest >= close * half[i]:
            found[i] = (SUMMED * summed) ** 2 + PLACED**2 * placed
    return found


@jit
def _nearest(sources, x, y, z, at):
    """Squared distances of the nearest and the second nearest of the sources around ``at``, and which is nearest."""
    nearest, second, source = np.inf, np.inf, at
    for j in range(max(0, at - WINDOW), min(sources.shape[1], at + WINDOW + 1)):
        r2 = (x - sources[0, j]) ** 2 + (y - sources[1, j]) ** 2 + (z - sources[2, j]) ** 2
        if r2 > 0.0 and r2 < nearest:
            second = nearest
            nearest, source = r2, j
        elif r2 > 0.0 and r2 < second:
            second = r2
    return nearest, second, source


@jit
def close_pairs(sources, targets, leaves, half_widths, source_ptr, target_ptr):
    """Targets whose nearest source is much nearer than any other, or very near.

    half_widths : of the leaves

    Returns
    -------
    squared_distance : float64 [n]
    source, target : int64 [n]
    isolated : bool [n], whether it is much nearer than any other
    """
    n_found = 0
    squared_distance = np.empty(targets.shape[1])
    source, target = np.empty(targets.shape[1], np.int64), np.empty(targets.shape[1], np.int64)
    isolated = np.empty(targets.shape[1], np.bool_)
    most = np.int64(0)
    for b in range(leaves.size):  # an index that is an array takes 0.7 s to compile
        most = max(most, target_ptr[leaves[b], 1] - target_ptr[leaves[b], 0])
    nearest, second, which = np.empty(most), np.empty(most), np.empty(most, np.int64)
    for b in range(leaves.size):
        leaf, very_near = leaves[b], (VERY_NEAR * half_widths[b]) ** 2
        first, n_sources = source_ptr[leaf, 0], source_ptr[leaf, 1] - source_ptr[leaf, 0]
        begin, n_targets = target_ptr[leaf, 0], target_ptr[leaf, 1] - target_ptr[leaf, 0]
        usual = 0.0  # sum over the targets of 1 / distance**2 to the nearest
        for i in range(n_targets):
            x, y, z = targets[0, begin + i], targets[1, begin + i], targets[2, begin + i]
            at = first + i * n_sources // n_targets
            nearest[i], second[i], which[i] = _nearest(sources, x, y, z, at)
            usual += 1.0 / nearest[i]
        for i in range(n_targets):
            isolated[n_found] = nearest[i] < ISOLATED**2 * min(second[i], n_targets / usual)
            if isolated[n_found] or nearest[i] < very_near:
                squared_distance[n_found], source[n_found], target[n_found] = nearest[i], which[i], begin + i
                n_found += 1
    found = slice(n_found)
    return squared_distance[found].copy(), source[found].copy(), target[found].copy(), isolated[found].copy()
