"""Template: how runs of points meet, for one vector of sources; `taskfmm.kernels.tiles` is the same for many.

Bound to the innermost loops of one kernel by `taskfmm.kernels.instances`. Arrays of charges and results have one row
for each number; what comes to target ``i`` of a run is added to column ``at + i``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskfmm.jit import part

if TYPE_CHECKING:
    from taskfmm.jit import wide_vectors

    def gather(*numbers: object) -> None: ...

    def gather_apart(*numbers: object) -> float: ...

    def gather_mutual(*numbers: object) -> None: ...

    def spread(*numbers: object) -> None: ...


@part
def gather_run(x, y, z, sx, sy, sz, q, out, at, parameters):
    """All sources at all targets."""
    wide_vectors()
    for i in range(x.size):
        gather(x[i], y[i], z[i], sx, sy, sz, q, out, at + i, parameters)


@part
def gather_run_apart(x, y, z, sx, sy, sz, q, out, parameters, least, closer):
    """The same; the number of sources whose squared distance is less is added to ``closer[i]``."""
    wide_vectors()
    for i in range(x.size):
        closer[i] += gather_apart(x[i], y[i], z[i], sx, sy, sz, q, out, i, parameters, least)


@part
def gather_run_mutual(x, y, z, own, sx, sy, sz, q, out, at, back, parameters):
    """The same; what the source at a target, ``own[:, at + i]``, does to every other is added to ``back``."""
    wide_vectors()
    for i in range(x.size):
        gather_mutual(x[i], y[i], z[i], own, sx, sy, sz, q, out, at + i, back, parameters)


@part
def spread_run(x, y, z, q, at, tx, ty, tz, out, parameters):
    """Sources with the numbers ``q[:, at + j]`` at all targets."""
    wide_vectors()
    for j in range(x.size):
        spread(x[j], y[j], z[j], q, at + j, tx, ty, tz, out, parameters)
