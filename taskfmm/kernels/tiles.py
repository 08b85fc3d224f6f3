"""Template: how runs of points meet, for many vectors of sources; `taskfmm.kernels.one_vector` is the same for one.

What a source of each single number does to each row of a result is written into a tile, [targets, sources], once for
all vectors. The rest is products of matrices: the tile times the vectors, and transposed for what targets do to
sources. Bound to formulas by `taskfmm.kernels.instances`.

Numbers and rows of the first vector come first. A buffer holds the tiles of all pairs of a number and a row, side by
side, in lines of `WIDTH`, which is known when loops are compiled: compilers then see that tiles do not overlap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from taskfmm.blas import add_by_columns, add_by_rows
from taskfmm.jit import part

if TYPE_CHECKING:
    from taskfmm.jit import wide_vectors

    REAL = float
    NUMBERS, ROWS, HEIGHT, WIDTH = 1, 1, 32, 256
    SIGNS = np.ones((1, 1))

    def fill(*numbers: object) -> None: ...

    def fill_apart(*numbers: object) -> float: ...

    def fill_reversed(*numbers: object) -> None: ...


@part
def _buffer():
    return np.empty((HEIGHT, NUMBERS * ROWS * WIDTH), REAL)


@part
def _tile(buffer, number, row, height, width):
    """What a source of one number does to one row."""
    begin = (number * ROWS + row) * WIDTH
    return buffer[:height, begin : begin + width]


@part
def _fill(x, y, z, begin, height, sx, sy, sz, q, first, last, buffer, at, parameters):
    """The lines of some targets, with what sources ``first`` to ``last`` do there."""
    wide_vectors()
    for i in range(height):
        j = begin + i
        fill(x[j], y[j], z[j], sx, sy, sz, q, first, last, buffer[i], at + j, parameters)


@part
def _add_forward(buffer, height, q, first, last, out, at):
    """From sources ``first`` to ``last`` to as many targets as a buffer is high."""
    one = np.ones(1, REAL)
    n_numbers = out.shape[0] // ROWS * NUMBERS
    for number in range(NUMBERS):
        vectors = q[number:n_numbers:NUMBERS, first:last]
        for row in range(ROWS):
            tile = _tile(buffer, number, row, height, last - first)
            add_by_rows(tile, vectors, out[row::ROWS, at : at + height], one)


@part
def _add_back(buffer, height, own, at, back, first, last, signs):
    """From those targets to sources ``first`` to ``last``; signs : [numbers, rows], of what is odd."""
    n_numbers = back.shape[0] // ROWS * NUMBERS
    for number in range(NUMBERS):
        vectors = own[number:n_numbers:NUMBERS, at : at + height]
        for row in range(ROWS):
            tile, sign = _tile(buffer, number, row, height, last - first), signs[number, row : row + 1]
            add_by_columns(tile, vectors, back[row::ROWS, first:last], sign)


@part
def gather_run(x, y, z, sx, sy, sz, q, out, at, parameters):
    """All sources at all targets; sums are added to ``out[:, at + i]``."""
    wide_vectors()
    buffer = _buffer()
    for begin in range(0, x.size, HEIGHT):
        n = min(HEIGHT, x.size - begin)
        for first in range(0, sx.size, WIDTH):
            last = min(first + WIDTH, sx.size)
            _fill(x, y, z, begin, n, sx, sy, sz, q, first, last, buffer, at, parameters)
            _add_forward(buffer, n, q, first, last, out, at + begin)


@part
def gather_run_apart(x, y, z, sx, sy, sz, q, out, parameters, least, closer):
    """The same; the number of sources whose squared distance is less is added to ``closer[i]``."""
    wide_vectors()
    buffer = _buffer()
    for begin in range(0, x.size, HEIGHT):
        n = min(HEIGHT, x.size - begin)
        for first in range(0, sx.size, WIDTH):
            last = min(first + WIDTH, sx.size)
            for i in range(n):
                j = begin + i
                closer[j] += fill_apart(
                    x[j], y[j], z[j], sx, sy, sz, first, last, buffer[i], parameters, least
                )
            _add_forward(buffer, n, q, first, last, out, begin)


@part
def gather_run_mutual(x, y, z, own, sx, sy, sz, q, out, at, back, parameters):
    """As `gather_run`; what the source at a target, ``own[:, at + i]``, does to every other is added to ``back``."""
    wide_vectors()
    buffer = _buffer()
    for begin in range(0, x.size, HEIGHT):
        n = min(HEIGHT, x.size - begin)
        for first in range(0, sx.size, WIDTH):
            last = min(first + WIDTH, sx.size)
            _fill(x, y, z, begin, n, sx, sy, sz, q, first, last, buffer, at, parameters)
            _add_forward(buffer, n, q, first, last, out, at + begin)
            _add_back(buffer, n, own, at + begin, back, first, last, SIGNS)


@part
def spread_run(x, y, z, q, at, tx, ty, tz, out, parameters):
    """Sources with the numbers ``q[:, at + j]`` at all targets."""
    wide_vectors()
    buffer = _buffer()
    for begin in range(0, x.size, HEIGHT):
        n = min(HEIGHT, x.size - begin)
        for first in range(0, tx.size, WIDTH):
            last = min(first + WIDTH, tx.size)
            for i in range(n):
                j = begin + i
                fill_reversed(x[j], y[j], z[j], tx, ty, tz, first, last, buffer[i], parameters)
            _add_back(buffer, n, q, at + begin, out, first, last, np.ones((NUMBERS, ROWS), REAL))
