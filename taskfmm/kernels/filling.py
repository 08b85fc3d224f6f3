"""Write the loops that fill the tiles of `taskfmm.kernels.tiles`, with what sources of one single number do.

As in `taskfmm.kernels.pairs`, this is text, which `taskfmm.kernels.instances` compiles for each kernel. A line has
`WIDTH` numbers for each number of a source and each row of a result. Loops over sources, or over targets, ``first``
to ``last`` fill its tiles from their beginnings.

- ``fill(x, y, z, sx, sy, sz, q, first, last, line, i, parameters)``: what target ``i`` gets from sources. Where these
  are softened, the last row of ``q`` holds the lengths of sources, and ``parameters`` end with those of targets.
- ``fill_apart(x, y, z, sx, sy, sz, first, last, line, parameters, least)``: the same; returns the number of sources
  whose squared distance is less.
- ``fill_reversed(x, y, z, tx, ty, tz, first, last, line, parameters)``: what one source does to targets.

And ``MUTUAL``, as one tile always serves both sides, and ``SIGNS``, [numbers, rows]: they turn the effect of a source
on a target into that of the target on the source.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskfmm.kernels.kernel import Source
from taskfmm.kernels.pairs import COUNTED, call, offset
from taskfmm.kernels.softening import Softening

HEIGHT = 32
"""Lines of a buffer."""

WIDTHS = {8: 512, 24: 128, 10**6: 64}
"""Numbers of a line, by the most tiles in a buffer: it should fit into a cache of the second level."""


def text(
    sources: Sequence[Source],
    odd_rows: Sequence[bool],
    softening: Softening | None = None,
    n_parameters: int = 0,
    first_row: int = 0,
) -> str:
    """The functions and constants, as Python source; other arguments as of `taskfmm.kernels.pairs.text`.

    first_row : of those that formulas give, the first one that is computed
    """
    numbers = [(kind, number) for kind in sources for number in range(kind.n_numbers)]
    rows = range(first_row, first_row + len(odd_rows))
    tiles = len(numbers) * len(rows)
    width = next(width for most, width in WIDTHS.items() if tiles <= most)
    signs = [[-1.0 if odd != kind.odd else 1.0 for odd in odd_rows] for kind, _ in numbers]
    soft = softening is not None
    from_source = offset("x - sx[j]", "y - sy[j]", "z - sz[j]")
    # an index that might be negative would keep compilers from using vectors
    some = "    {0}x, {0}y, {0}z = {0}x[first:last], {0}y[first:last], {0}z[first:last]".format
    lines = [
        "MUTUAL = True",
        f"NUMBERS, ROWS, HEIGHT, WIDTH = {len(numbers)}, {len(odd_rows)}, {HEIGHT}, {width}",
        f"SIGNS = np.array({signs}, REAL)",
        "",
        "@part",
        "def fill(x, y, z, sx, sy, sz, q, first, last, line, i, parameters):",
        "    wide_vectors()",
        some("s"),
        *(
            [f"    own_h, h_of = parameters[{n_parameters} + i], q[q.shape[0] - 1, first:last]"]
            if soft
            else []
        ),
        "    for j in range(sx.size):",
        *from_source,
        *(["        h = own_h if own_h > h_of[j] else h_of[j]"] if soft else []),
        *_written(numbers, rows, width, softening),
        "",
        "@part",
        "def fill_apart(x, y, z, sx, sy, sz, first, last, line, parameters, least):",
        "    wide_vectors()",
        some("s"),
        "    close = REAL(0.0)",
        "    for j in range(sx.size):",
        *from_source,
        COUNTED,
        *_written(numbers, rows, width),
        "    return close",
        "",
        "@part",
        "def fill_reversed(x, y, z, tx, ty, tz, first, last, line, parameters):",
        "    wide_vectors()",
        some("t"),
        "    for j in range(tx.size):",
        *offset("tx[j] - x", "ty[j] - y", "tz[j] - z"),
        *_written(numbers, rows, width),
        "",
    ]
    return "\n".join(lines)


def _written(
    numbers: Sequence[tuple[Source, int]], rows: range, width: int, softening: Softening | None = None
) -> list[str]:
    """The formula of a source whose numbers are 0 but for one, which is 1, in all its tiles."""
    lines = []
    for at, (kind, number) in enumerate(numbers):
        one = [f"REAL({float(each == number)})" for each in range(kind.n_numbers)]
        lines.append(f"        f{at} = {call(kind, one, softening)}")
        begin = at * len(rows)
        lines += [
            f"        line[{(begin + number) * width} + j] = f{at}[{row}]" for number, row in enumerate(rows)
        ]
    return lines
