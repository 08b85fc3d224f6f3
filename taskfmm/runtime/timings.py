"""What happened: seconds by operator."""

from __future__ import annotations

from collections.abc import Hashable

from dask.diagnostics import Profiler

OPERATORS = ("charges", "p2m", "m2m", "m2l", "p2l", "l2l", "l2p", "m2p", "near", "potential", "gradient")
"""The names that begin the keys of our tasks, in the order of the method."""


def operator_of(key: Hashable) -> str | None:
    """The operator of a task's key ``("m2l-<token>", level, shard)``; None for the tasks of others."""
    name = key[0] if isinstance(key, tuple) and key else key
    if not isinstance(name, str) or "-" not in name:
        return None
    operator = name.split("-", 1)[0]
    return operator if operator in OPERATORS else None


class OperatorTimings(Profiler):
    """Record the tasks run in this process: ``with OperatorTimings() as timings: phi.compute()``."""

    def by_operator(self) -> dict[str, tuple[int, float]]:
        """Number of tasks and seconds, summed over the tasks, of each operator that ran."""
        found: dict[str, list[float]] = {}
        for task in self.results:
            operator = operator_of(task.key)
            if operator is not None:
                found.setdefault(operator, []).append(task.end_time - task.start_time)
        return {name: (len(found[name]), sum(found[name])) for name in OPERATORS if name in found}

    def table(self) -> str:
        """Text table: operator, tasks, seconds summed over tasks, share of all seconds."""
        rows = self.by_operator()
        total = sum(seconds for _, seconds in rows.values())
        lines = [f"{'operator':<10} {'tasks':>6} {'seconds':>9} {'share':>7}"]
        for name, (n_tasks, seconds) in rows.items():
            share = seconds / total if total else 0.0
            lines.append(f"{name:<10} {n_tasks:>6} {seconds:>9.3f} {share:>7.1%}")
        n_all = sum(n_tasks for n_tasks, _ in rows.values())
        lines.append(f"{'all':<10} {n_all:>6} {total:>9.3f} {1.0 if total else 0.0:>7.1%}")
        return "\n".join(lines)
