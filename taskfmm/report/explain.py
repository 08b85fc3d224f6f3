"""What a plan holds, as data and as text."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dask.utils import format_bytes

from taskfmm.errors import AccuracyError
from taskfmm.evaluation import Evaluator
from taskfmm.forecast.effort import n_bytes
from taskfmm.forecast.shown import duration, table
from taskfmm.operators.accuracy import MIXED
from taskfmm.passes.given import AT_ONCE
from taskfmm.plan.plan import Plan
from taskfmm.runtime.threads import one_blas_thread


def facts(evaluator: Evaluator, outputs: tuple[str, ...], memory_limit: int | None = None) -> dict[str, Any]:
    """Numbers about a plan and one evaluation, see `taskfmm.Fmm.facts`."""
    planned = evaluator.planned
    asked = planned.asked
    found: dict[str, Any] = {
        "kernel": asked.kernel.name,
        "eps": asked.eps,
        "dtype": str(asked.dtype),
        "box": None if asked.box is None else asdict(asked.box),
        "leaf_size": planned.leaf_size,
        "n_sources": planned.n_sources,
        "n_targets": planned.n_targets,
        "operators": {output: _operators(evaluator, output) for output in asked.kernel.usual},
    }
    plan = planned.plan
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
    found["fullest_leaf"] = tree.fullest
    found["softened"] = tree.lengths is not None
    found["wide_sources"] = tree.n_wide
    found["points_per_leaf"] = planned.n_sources / n_leaves
    found["list_sizes"] = {
        "u": lists.u.idx.size / n_leaves,
        "v": lists.v.idx.size / tree.n_boxes,
        "w": lists.w.idx.size / n_leaves,
        "x": lists.x.idx.size / tree.n_boxes,
    }
    found["direct_sum"] = plan.is_direct
    found["plan_bytes"] = n_bytes(plan)
    found["forecast"] = evaluator.forecast(outputs).facts()
    found["tasks"] = {name: row["tasks"] for name, row in found["forecast"]["operators"].items()}
    found["vectors_at_once"] = evaluator.at_once(asked.kernel.of_first, outputs, AT_ONCE, memory_limit)
    return found


@one_blas_thread()
def _operators(evaluator: Evaluator, output: str) -> dict[str, Any] | None:
    planned, asked = evaluator.planned, evaluator.planned.asked
    try:
        chosen = evaluator.chooser.accuracy(output)
    except AccuracyError:
        return None
    rank = None
    if output == asked.first and planned.plan is not None and not planned.plan.is_direct:
        at = planned.plan.top if asked.box is None else planned.plan.tree.n_levels
        rank = planned.matrices(chosen).at(at).rank
    return {"order": chosen.order, "rank": rank, "m2l_dtype": chosen.m2l_dtype}


def title(evaluator: Evaluator) -> str:
    """A plan in one line."""
    planned, asked = evaluator.planned, evaluator.planned.asked
    targets = "the sources" if planned.same else f"{planned.n_targets:,} targets"
    method = "direct sum"
    if planned.plan is None or planned.leaf_size is not None:
        method = f"order {evaluator.chooser.accuracy(asked.first).order}, leaf size {planned.leaf_size}"
    return (
        f"<taskfmm.Fmm: {planned.n_sources:,} sources, {targets}, kernel {asked.kernel.name}, "
        f"{'' if asked.box is None else 'periodic box, '}"
        f"eps {asked.eps:g}, {method}, {asked.dtype}>"
    )


def explain(evaluator: Evaluator, outputs: tuple[str, ...], memory_limit: int | None = None) -> str:
    """The facts as text."""
    found, head = facts(evaluator, outputs, memory_limit), title(evaluator)
    if "levels" not in found:
        nothing = "nothing to do: there are no sources or no targets, every output is zero"
        return "\n".join([head, nothing])
    method = _direct(found) if found["direct_sum"] else _approximated(found["operators"])
    plan = f"plan            {format_bytes(found['plan_bytes'])}"
    if found["leaf_size"] is None:
        return "\n".join([head, method, plan, "", *_forecast(found["forecast"])])
    sizes = found["list_sizes"]
    lines = [
        head,
        method,
        f"lists, mean     U {sizes['u']:.1f}  W {sizes['w']:.1f} a leaf, "
        f"V {sizes['v']:.1f}  X {sizes['x']:.1f} a box; {found['points_per_leaf']:.0f} sources a leaf",
        *(f"{name}    {text}" for name, text in _box(evaluator.planned.plan).items()),
        f"many vectors    up to {found['vectors_at_once']} at once for {' and '.join(outputs)}",
        *_wide(found),
        *_crowded(found),
        plan,
        "",
        f"{'level':>5} {'boxes':>9} {'leaves':>9} {'shards':>7} {'near shards':>12}",
    ]
    lines += [
        f"{row['level']:>5} {row['boxes']:>9,} {row['leaves']:>9,} {row['shards']:>7} {row['near_shards']:>12}"
        for row in found["levels"]
    ]
    return "\n".join([*lines, "", *_forecast(found["forecast"])])


def _box(plan: Plan | None) -> dict[str, str]:
    """Of a periodic box: along which axes, and how it is cut."""
    cell = None if plan is None else plan.tree.domain.cell
    if cell is None:
        return {}
    axes = ", ".join(axis for axis, repeated in zip("xyz", cell.periodic, strict=True) if repeated)
    cubes = " x ".join(map(str, cell.cubes))
    around = ("; vacuum around it" if cell.in_vacuum else "; a conductor around it") * all(cell.periodic)
    return {"periodic box": f"along {axes}; cut into {cubes} cubes, at level {cell.level}{around}"}


def _approximated(operators: dict[str, Any]) -> str:
    first, *others = operators.values()
    line = f"operators       order {first['order']}, {first['rank']} numbers an expansion, "
    line += "M2L in " + {MIXED: "mixed precision"}.get(first["m2l_dtype"], first["m2l_dtype"])
    for name, chosen in zip(list(operators)[1:], others, strict=True):
        line += f"; order {chosen['order']} with a {name}" if chosen else f"; no {name} to this eps"
    return line


def _direct(found: dict[str, Any]) -> str:
    pairs = f"{found['n_sources']:,} x {found['n_targets']:,} pairs"
    why = (
        f"they cost less than any tree{' with boxes as wide as the softening' if found['softened'] else ''}"
        if found["leaf_size"] is None
        else f"{'boxes as wide as the softening' if found['softened'] else 'leaves this large'} leave no far field"
    )
    return f"direct sum      over all {pairs}, exact and without operators: {why}"


def _wide(found: dict[str, Any]) -> list[str]:
    if not found["wide_sources"]:
        return []
    return [
        f"wide sources    {found['wide_sources']:,} meet all points one by one: their softening exceeds boxes"
    ]


def _crowded(found: dict[str, Any]) -> list[str]:
    if found["fullest_leaf"] <= found["leaf_size"]:
        return []
    return [
        f"fullest leaf    {found['fullest_leaf']:,} points, more than the leaf size of {found['leaf_size']:,}: "
        + ("boxes are as wide as the softening" if found["softened"] else "they coincide, or nearly so")
    ]


def _forecast(found: dict[str, Any]) -> list[str]:
    """What one evaluation will take, line by line."""
    memory = dict(found["memory"])
    peak = memory.pop("peak")
    largest = found["largest_task"]
    path = ", ".join(f"{n} {name}" if n > 1 else name for name, n in found["critical_path"].items())
    lines = [
        f"an evaluation of {' and '.join(found['outputs'])}, on {found['scheduler']}",
        f"graph           {found['tasks']:,} tasks, {found['edges']:,} edges; "
        f"{format_bytes(found['edge_bytes'])} along them, results {format_bytes(found['result_bytes'])}",
        f"expected        {duration(found['seconds'])}; all tasks together {duration(found['task_seconds'])}",
        f"critical path   {duration(found['critical_path_seconds'])}: {path}; "
        f"parallelism {found['parallelism']:.1f}",
        f"peak memory     {format_bytes(peak)}: "
        + ", ".join(f"{name} {format_bytes(size)}" for name, size in memory.items() if size),
        f"largest task    {format_bytes(largest['bytes'])}: {largest['operator']} of level {largest['level']}",
        "",
        f"{'operator':<10} {'tasks':>6} {'expected s':>11} {'share':>7} {'results':>11}",
    ]
    lines += [
        f"{name:<10} {row['tasks']:>6} {row['seconds']:>11.4f} {row['seconds'] / found['task_seconds']:>7.1%} "
        f"{format_bytes(row['result_bytes']):>11}"
        for name, row in found["operators"].items()
    ]
    return lines


def html(evaluator: Evaluator) -> str:
    """What a notebook shows of a plan."""
    planned, asked = evaluator.planned, evaluator.planned.asked
    chosen = evaluator.chooser.accuracy(asked.first)
    rows = {
        "points": f"{planned.n_sources:,}"
        + ("" if planned.same else f" sources, {planned.n_targets:,} targets"),
        "kernel": asked.kernel.name,
        "eps": f"{asked.eps:g}",
        "order": f"{chosen.order}",
        "dtype": str(asked.dtype),
    }
    if planned.plan is not None:
        tree, found = planned.plan.tree, evaluator.forecast((asked.first,))
        rows |= _box(planned.plan) | {
            "leaf size": "none: direct sum" if planned.leaf_size is None else f"{planned.leaf_size:,}",
            "boxes": f"{tree.n_boxes:,} on {tree.n_levels} levels",
            "tasks": f"{len(found.keys):,}",
            "expected": f"{duration(found.seconds)} a {asked.first}, on {found.layout}",
            "plan": format_bytes(n_bytes(planned.plan)),
            "peak memory": format_bytes(found.memory["peak"]),
        }
    return table("taskfmm.Fmm", rows)
