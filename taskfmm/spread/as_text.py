"""What points that never meet will take, as text."""

from __future__ import annotations

from dask.utils import format_bytes

from taskfmm.forecast.shown import duration
from taskfmm.spread.ahead import STAGES, Ahead


def text(ahead: Ahead) -> str:
    """The facts of a forecast, line by line; the last ones say what to change, if anything."""
    found = ahead.facts()
    own, planning, seconds, memory = (
        found["graph"],
        found["planning"],
        found["seconds"],
        dict(found["memory"]),
    )
    where = "fits" if ahead.fits else "does not fit"
    peak = memory.pop("peak")
    operators = found["operators"]
    largest = max(name for name in STAGES if memory[name] == max(memory[each] for each in STAGES))
    lines = [
        f"{ahead.n_points:,} points ({ahead.shape}), kernel {ahead.kernel}, eps {ahead.eps:g}, order "
        f"{found['order']}, leaf size {ahead.leaf_size}, {ahead.dtype}",
        f"on              {ahead.workers:,} workers x {ahead.threads} threads, {ahead.cores:,} cores, "
        f"{format_bytes(ahead.memory_limit)} each",
        f"parts           {ahead.chunks:,} chunks, {found['units']:,} units, {found['regions']:,} regions, "
        f"{found['boxes']:,} boxes on {found['levels']} levels",
        f"plan            {planning['tasks']:,} tasks, {planning['edges']:,} edges; "
        f"{format_bytes(found['disk_bytes'])} on the disk, {found['disk_bytes'] / ahead.n_points:.0f} bytes a point",
        f"evaluation      {own['tasks']:,} tasks, {own['edges']:,} edges; "
        f"{format_bytes(found['sent_bytes'])} between workers, {format_bytes(found['file_bytes'])} through files",
        f"expected        {duration(seconds['all'])}: arithmetic {duration(seconds['arithmetic'])} of one core, "
        f"scheduler {duration(seconds['scheduler'])}, transfers {duration(seconds['transfers'])}",
        f"memory          {format_bytes(peak)} of a worker, which {where}: process "
        f"{format_bytes(memory['process'])}, operators {format_bytes(memory['operators'])}, {largest} "
        f"{format_bytes(memory[largest])}",
        f"client          {format_bytes(found['client_bytes'])} besides; scheduler "
        f"{format_bytes(found['scheduler_bytes'])}",
        "",
        f"{'operator':<10} {'tasks':>9} {'expected s':>11} {'share':>7}",
    ]
    lines += [
        f"{name:<10} {found['works'][name]:>9,} {each:>11,.2f} {each / seconds['arithmetic']:>7.1%}"
        for name, each in operators.items()
    ]
    other = found["other_seconds"]
    lines.append(f"{'others':<10} {own['tasks'] - sum(found['works'].values()):>9,} {other:>11,.2f}")
    lines[-1] += f" {other / seconds['arithmetic']:>7.1%}"
    return "\n".join([*lines, *(f"\n{advice}" for advice in ahead.advice)])
