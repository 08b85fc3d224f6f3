"""Write the innermost loops of a kernel, over the sources or targets that one point meets.

They differ between kernels in their formulas and in how many numbers go in and come out. Sums over these numbers
have to be written out one by one: a loop over them, inside the loop over points, would keep compilers from using
vectors. So the text of the loops is made here, and compiled by `taskfmm.kernels.instances`.

Four functions come of it, for one vector of sources. Arrays of charges, results and densities have one row for each
number, coordinates are contiguous one-dimensional arrays; all are of one dtype.

- ``gather(x, y, z, sx, sy, sz, q, out, i, parameters)``: the sum over all sources is added to ``out[:, i]``.
- ``gather_apart(x, y, z, sx, sy, sz, q, out, i, parameters, least)``: the same; returns the number of sources whose
  squared distance is less.
- ``gather_mutual(x, y, z, own, sx, sy, sz, q, out, i, back, parameters)``: as gather, and what the source at the
  target, ``own[:, i]``, does to every other is added to ``back``: one distance serves both points of a pair.
- ``spread(x, y, z, q, j, tx, ty, tz, out, parameters)``: source ``j`` is added at all targets.

Where sources are softened, ``q`` and ``own`` have a further row, the length of each source, and ``parameters`` ends
with the length of each target ``i``. A pair has the larger length of both.
And ``MUTUAL``, whether ``gather_mutual`` takes less than ``gather`` twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskfmm.kernels.kernel import Source
from taskfmm.kernels.softening import Softening

MOST_COMPARED = 70
"""Pairs of rows of arrays, one of them written, in `gather_mutual`. Before they use vectors, compilers compare where
these lie, and at more than about so many they give up: a pair with the 13 rows of a velocity gradient took 65 ns, and
5 ns by ``gather`` from both sides."""


def is_mutual(n_numbers: int, n_rows: int) -> bool:
    """Whether one distance serves both points of a pair, for sources of so many numbers."""
    return n_rows * (3 + n_numbers) + n_rows * (n_rows - 1) // 2 <= MOST_COMPARED


def text(
    sources: Sequence[Source],
    odd_rows: Sequence[bool],
    softening: Softening | None = None,
    n_parameters: int = 0,
) -> str:
    """The functions, and ``MUTUAL``, as Python source. What they are compiled with names `REAL`, float64 or float32.

    sources : the kinds, named as their formulas
    odd_rows : of each row that is computed, the first ones that formulas give, whether it is of an odd output
    softening : of pairs of points, but not in `spread`
    n_parameters : of the kernel, where it has a softening
    """
    kinds, numbers = range(len(sources)), range(sum(kind.n_numbers for kind in sources))
    rows = range(len(odd_rows))
    soft, last = softening is not None, len(numbers)
    totals = [f"    total{r}_{s} = REAL(0.0)" for r in rows for s in kinds]
    larger = [f"        h = own_h if own_h > q[{last}, j] else q[{last}, j]"] if soft else []
    summed = [f"        total{r}_{s} += f{s}[{r}]" for r in rows for s in kinds]
    added = [f"    out[{r}, i] = add(out[{r}, i], {_list(f'total{r}_', kinds)})" for r in rows]
    lines = [
        f"MUTUAL = {is_mutual(len(numbers), len(rows))}",
        "",
        # one fixed order of the sum: with fast math LLVM would choose its own
        "@formula",
        f"def add(total, {_list('part', kinds)}):",
        f"    return {' + '.join(['total', *(f'part{s}' for s in kinds)])}",
        "",
        "@part",
        "def gather(x, y, z, sx, sy, sz, q, out, i, parameters):",
        "    wide_vectors()",
        *([f"    own_h = parameters[{n_parameters} + i]"] if soft else []),
        *totals,
        "    for j in range(sx.size):",
        *offset("x - sx[j]", "y - sy[j]", "z - sz[j]"),
        *larger,
        *_formulas("f", sources, "q[{}, j]", softening),
        *summed,
        *added,
        "",
        "@part",
        "def gather_apart(x, y, z, sx, sy, sz, q, out, i, parameters, least):",
        "    wide_vectors()",
        *totals,
        "    close = REAL(0.0)",
        "    for j in range(sx.size):",
        *offset("x - sx[j]", "y - sy[j]", "z - sz[j]"),
        COUNTED,
        *_formulas("f", sources, "q[{}, j]"),
        *summed,
        *added,
        "    return close",
        "",
        "@part",
        "def gather_mutual(x, y, z, own, sx, sy, sz, q, out, i, back, parameters):",
        "    wide_vectors()",
        *(f"    own{n} = own[{n}, i]" for n in numbers),
        *([f"    own_h = own[{last}, i]"] if soft else []),
        *totals,
        "    for j in range(sx.size):",
        *offset("x - sx[j]", "y - sy[j]", "z - sz[j]"),
        *larger,
        *_formulas("f", sources, "q[{}, j]", softening),
        # the same offset, so that the distance is formed once; signs follow from what is odd
        *_formulas("b", sources, "own{}", softening),
        *summed,
        *(f"        back[{r}, j] = {_added(f'back[{r}, j]', 'b', sources, r, odd_rows[r])}" for r in rows),
        *added,
        "",
        "@part",
        "def spread(x, y, z, q, j, tx, ty, tz, out, parameters):",
        "    wide_vectors()",
        *(f"    own{n} = q[{n}, j]" for n in numbers),
        "    for i in range(tx.size):",
        *offset("tx[i] - x", "ty[i] - y", "tz[i] - z"),
        *_formulas("f", sources, "own{}"),
        *(f"        out[{r}, i] = {_added(f'out[{r}, i]', 'f', sources, r)}" for r in rows),
        "",
    ]
    return "\n".join(lines)


COUNTED = "        close += REAL(1.0) if dx * dx + dy * dy + dz * dz < least else REAL(0.0)"
"""A count of what is close, as compilers use no vectors where a minimum is asked for."""


def offset(*differences: str) -> list[str]:
    """From a source to a target, of which differences of coordinates are given."""
    return [f"        d{axis} = {found}" for axis, found in zip("xyz", differences, strict=True)]


def formula_name(kind: Source, softening: Softening | None) -> str:
    """Of the function that is called for a kind of source."""
    return kind.name if softening is None else f"{softening.formula}_{kind.name}"


def _formulas(
    name: str, sources: Sequence[Source], number: str, softening: Softening | None = None
) -> list[str]:
    """A call of the formula of each kind, which takes its numbers from where ``number`` says."""
    lines, first = [], 0
    for at, kind in enumerate(sources):
        numbers = [number.format(c) for c in range(first, first + kind.n_numbers)]
        lines.append(f"        {name}{at} = {call(kind, numbers, softening)}")
        first += kind.n_numbers
    return lines


def call(kind: Source, numbers: Sequence[str], softening: Softening | None = None) -> str:
    """A call of the formula of a kind of source, for the offset at hand."""
    length = "" if softening is None else "h, "
    return f"{formula_name(kind, softening)}(dx, dy, dz, {', '.join(numbers)}, {length}parameters)"


def _list(name: str, kinds: range) -> str:
    return ", ".join(f"{name}{kind}" for kind in kinds)


def _added(total: str, name: str, sources: Sequence[Source], row: int, odd: bool | None = None) -> str:
    """A total and the row of each kind; seen from the other side, with its sign, where ``odd`` tells its kind."""
    signs = ["-" if odd is not None and odd != kind.odd else "" for kind in sources]
    return f"add({total}, {', '.join(f'{sign}{name}{at}[{row}]' for at, sign in enumerate(signs))})"
