"""What a plan holds, as data and as text."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from taskfmm.errors import AccuracyError
from taskfmm.operators.levels import load

if TYPE_CHECKING:
    from taskfmm.fmm import Fmm


def n_bytes(value: Any) -> int:
    """Bytes of the arrays in a nest of dataclasses and containers."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if is_dataclass(value):
        return sum(n_bytes(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, dict):
        return sum(map(n_bytes, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(n_bytes, value))
    return 0


def facts(fmm: Fmm) -> dict[str, Any]:
    """Numbers about a plan: points, boxes by level, mean list sizes, operators, tasks, bytes."""
    found: dict[str, Any] = {
        "kernel": fmm.kernel.name,
        "eps": fmm.eps,
        "dtype": str(fmm.dtype),
        "leaf_size": fmm.leaf_size,
        "n_sources": len(fmm.sources),
        "n_targets": len(fmm.targets),
        "operators": {output: _operators(fmm, output) for output in ("potential", "gradient")},
    }
    plan = fmm.plan
    if plan is None:
        return found
    tree, lists = plan.tree, plan.lists
    leaf = tree.is_leaf
    levels = [slice(*tree.level_ptr[level : level + 2]) for level in range(tree.n_levels)]
    found["levels"] = [
        {
            "level": level,
            "boxes": int(at.stop - at.start),
            "leaves": int(leaf[at].sum()),
            "shards": len(plan.far[level]),
            "near_shards": sum(work.level == level for work in plan.near),
        }
        for level, at in enumerate(levels)
    ]
    n_leaves = int(leaf.sum())
    found["points_per_leaf"] = len(fmm.sources) / n_leaves
    found["list_sizes"] = {
        "u": lists.u.idx.size / n_leaves,
        "v": lists.v.idx.size / tree.n_boxes,
        "w": lists.w.idx.size / n_leaves,
        "x": lists.x.idx.size / tree.n_boxes,
    }
    graph: Any = fmm.potential(np.zeros(len(fmm.sources))).__dask_graph__()
    found["tasks"] = dict(Counter(str(key[0]).split("-")[0] for key in graph))
    found["plan_bytes"] = n_bytes(plan)
    return found


def _operators(fmm: Fmm, output: str) -> dict[str, Any] | None:
    try:
        chosen = fmm.accuracy(output)
    except AccuracyError:
        return None
    rank = load(fmm.kernel.name, chosen).at(0).rank if output == "potential" else None
    return {"order": chosen.order, "rank": rank, "m2l_dtype": chosen.m2l_dtype}


def explain(fmm: Fmm) -> str:
    """The facts as text."""
    found = facts(fmm)
    chosen = found["operators"]["potential"]
    gradient = found["operators"]["gradient"]
    lines = [
        repr(fmm),
        f"operators       order {chosen['order']}, {chosen['rank']} numbers an expansion, "
        f"M2L in {chosen['m2l_dtype']}; "
        + (f"order {gradient['order']} with a gradient" if gradient else "no gradient to this eps"),
    ]
    if "levels" not in found:
        return "\n".join([*lines, "nothing to do: there are no sources or no targets, every output is zero"])
    sizes = found["list_sizes"]
    tasks = found["tasks"]
    lines += [
        f"lists, mean     U {sizes['u']:.1f}  W {sizes['w']:.1f} a leaf, "
        f"V {sizes['v']:.1f}  X {sizes['x']:.1f} a box; {found['points_per_leaf']:.0f} sources a leaf",
        f"graph           {sum(tasks.values()):,} tasks: "
        + ", ".join(f"{name} {n}" for name, n in sorted(tasks.items())),
        f"plan            {found['plan_bytes'] / 2**20:,.1f} MiB",
        "",
        f"{'level':>5} {'boxes':>9} {'leaves':>9} {'shards':>7} {'near shards':>12}",
    ]
    lines += [
        f"{row['level']:>5} {row['boxes']:>9,} {row['leaves']:>9,} {row['shards']:>7} {row['near_shards']:>12}"
        for row in found["levels"]
    ]
    return "\n".join(lines)
