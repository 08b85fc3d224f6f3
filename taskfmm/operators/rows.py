"""Rows of expansions that M2L takes together: gathered, reflected, packed, and given back.

A pair of parents has a place in a batch, and a place has a row for each column. Rows are arrays of one dimension, or
loops over them would have no vector instructions.
"""

from __future__ import annotations

from taskfmm.jit import jit


@jit
def existing(found, mirrors, level, boxes, flips):
    """The children that exist, and the reflections that take them to the lower side along some axes as well."""
    n = 0
    for i in range(found.size):
        if found[i] >= 0:
            boxes[n], flips[n] = found[i], mirrors[i] ^ level
            n += 1


@jit
def gather(boxes, flips, expansions, signs, rows):
    """The expansions of boxes, reflected, a row for each column."""
    columns = expansions.shape[1]
    for i in range(boxes.size):
        sign = signs[flips[i]]
        for column in range(columns):
            row, expansion = rows[i * columns + column], expansions[boxes[i], column]
            for c in range(row.size):
                row[c] = expansion[c] * sign[c]


@jit
def scatter(boxes, flips, rows, signs, out):
    """Add rows, reflected back, to boxes."""
    columns = out.shape[1]
    for i in range(boxes.size):
        sign = signs[flips[i]]
        for column in range(columns):
            row, total = rows[i * columns + column], out[boxes[i], column]
            for c in range(row.size):
                total[c] += row[c] * sign[c]


@jit
def from_parent(octant):
    """The centre of a child less that of its parent, in half-widths of the child."""
    return 2 * (octant >> 2 & 1) - 1, 2 * (octant >> 1 & 1) - 1, 2 * (octant & 1) - 1


@jit
def move(flips, columns, rows, x, y, z):
    """Refer the last of every four rows, a first moment, to another centre.

    x, y, z : the old centre less the new one, as reflected, in half-widths of the children
    """
    for i in range(flips.size):
        flip = flips[i]
        along_x, along_y, along_z = -x if flip & 4 else x, -y if flip & 2 else y, -z if flip & 1 else z
        for j in range(i * columns, (i + 1) * columns, 4):
            of_x, of_y, of_z, moment = rows[j], rows[j + 1], rows[j + 2], rows[j + 3]
            for c in range(moment.size):
                moment[c] += along_x * of_x[c] + along_y * of_y[c] + along_z * of_z[c]


@jit
def places(found, place):
    """Where there are boxes; returns how many."""
    n = 0
    for i in range(found.size):
        if found[i] >= 0:
            place[n] = i
            n += 1
    return n


@jit
def meeting(targets, sources, place):
    """The pairs that have both a target and a source; returns how many."""
    n = 0
    for i in range(targets.size):
        if targets[i] >= 0 and sources[i] >= 0:
            place[n] = i
            n += 1
    return n


@jit
def some(place, columns, rows, packed):
    """The rows of some places, each of which has a row for each column, one after the other."""
    for i in range(place.size * columns):
        row, of = packed[i], rows[place[i // columns] * columns + i % columns]
        for c in range(row.size):
            row[c] = of[c]


@jit
def add_some(place, columns, packed, rows):
    """Add them to the rows of their places."""
    for i in range(place.size * columns):
        row, to = packed[i], rows[place[i // columns] * columns + i % columns]
        for c in range(row.size):
            to[c] += row[c]


@jit
def matrix(flat, first, n_rows, n_columns):
    """A matrix that begins somewhere in a flat array."""
    return flat[first : first + n_rows * n_columns].reshape((n_rows, n_columns))
