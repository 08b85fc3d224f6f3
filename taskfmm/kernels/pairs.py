"""Write the innermost loops of a kernel, over the sources or targets that one point meets.

They differ between kernels in their formulas and in how many numbers go in and come out. Sums over these numbers
have to be written out one by one: a loop over them, inside the loop over points, would keep compilers from using
vectors. So the text of the loops is made here, and compiled by `taskfmm.kernels.instances`.

Three functions come of it. Arrays of charges, results and densities have one row for each number, coordinates are
contiguous one-dimensional float64 arrays.

- ``gather(x, y, z, sx, sy, sz, q, out, i, parameters)``: the sum over all sources is added to ``out[:, i]``.
- ``gather_both(x, y, z, own, sx, sy, sz, q, out, i, back, parameters)``: the same, and what the source ``own[:, i]``
  at the target does to every other is added to ``back``: both sides of a pair for one distance.
- ``spread(x, y, z, q, j, tx, ty, tz, out, parameters)``: source ``j`` is added at all targets.
"""

from __future__ import annotations

from collections.abc import Sequence

Kinds = Sequence[tuple[str, int]]


def text(kinds: Kinds, n_rows: int) -> str:
    """The three functions as Python source.

    kinds : of the sources, each with its numbers; the formulas are named as the kinds
    n_rows : of the formulas' rows, how many are computed
    """
    rows = range(n_rows)
    lines = [
        "@jit",
        "def gather(x, y, z, sx, sy, sz, q, out, i, parameters):",
        "    wide_vectors()",
        *(f"    total{r} = 0.0" for r in rows),
        "    for j in range(sx.size):",
        *_offset("x - sx[j]", "y - sy[j]", "z - sz[j]"),
        *_formulas("f", kinds, "dx, dy, dz", "q[{}, j]"),
        *(f"        total{r} += {_sum('f', kinds, r)}" for r in rows),
        *(f"    out[{r}, i] += total{r}" for r in rows),
        "",
        "@jit",
        "def gather_both(x, y, z, own, sx, sy, sz, q, out, i, back, parameters):",
        "    wide_vectors()",
        *(f"    own{n} = own[{n}, i]" for n in range(sum(n for _, n in kinds))),
        *(f"    total{r} = 0.0" for r in rows),
        "    for j in range(sx.size):",
        *_offset("x - sx[j]", "y - sy[j]", "z - sz[j]"),
        *_formulas("f", kinds, "dx, dy, dz", "q[{}, j]"),
        # the distance is the same, so compilers find its root only once
        *_formulas("b", kinds, "-dx, -dy, -dz", "own{}"),
        *(f"        total{r} += {_sum('f', kinds, r)}" for r in rows),
        *(f"        back[{r}, j] += {_sum('b', kinds, r)}" for r in rows),
        *(f"    out[{r}, i] += total{r}" for r in rows),
        "",
        "@jit",
        "def spread(x, y, z, q, j, tx, ty, tz, out, parameters):",
        "    wide_vectors()",
        *(f"    own{n} = q[{n}, j]" for n in range(sum(n for _, n in kinds))),
        "    for i in range(tx.size):",
        *_offset("tx[i] - x", "ty[i] - y", "tz[i] - z"),
        *_formulas("f", kinds, "dx, dy, dz", "own{}"),
        *(f"        out[{r}, i] += {_sum('f', kinds, r)}" for r in rows),
        "",
    ]
    return "\n".join(lines)


def _offset(*differences: str) -> list[str]:
    return [f"        d{axis} = {found}" for axis, found in zip("xyz", differences, strict=True)]


def _formulas(name: str, kinds: Kinds, offset: str, number: str) -> list[str]:
    """A call of the formula of each kind, which takes its numbers from where ``number`` says."""
    lines, first = [], 0
    for at, (kind, n) in enumerate(kinds):
        numbers = ", ".join(number.format(c) for c in range(first, first + n))
        lines.append(f"        {name}{at} = {kind}({offset}, {numbers}, parameters)")
        first += n
    return lines


def _sum(name: str, kinds: Kinds, row: int) -> str:
    return " + ".join(f"{name}{at}[{row}]" for at in range(len(kinds)))
