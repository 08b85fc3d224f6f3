"""What a profile costs a task: ``python -m benchmarks.profile_overhead``.

Microseconds of CPU time for each call of a task that does nothing, as a plain Dask task, as a task of ours while
nobody listens, and while a profile is open; the least of several rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click
from dask.task_spec import List, Task, TaskRef

import taskfmm
from taskfmm.graph.spec import OperatorTask

ROUNDS, CALLS, NEEDS = 7, 2000, 8


def nothing(values: list) -> None:
    """The work of the task."""


def microseconds(once: Callable[[], None]) -> float:
    """CPU time of a call, the least of some rounds."""
    found = []
    for _ in range(ROUNDS):
        started = time.thread_time()
        for _ in range(CALLS):
            once()
        found.append(time.thread_time() - started)
    return 1e6 * min(found) / CALLS


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Print the three costs, of a task that reads from eight others."""
    values = {(f"P2M-fmm{'0' * 21}", 4, i): b"" for i in range(NEEDS)}
    kinds = {}
    for kind in (Task, OperatorTask):
        kinds[kind] = kind((f"M2L-fmm{'0' * 21}", 4, 0), nothing, List(*map(TaskRef, values)))
    plain = microseconds(lambda: kinds[Task](values))
    silent = microseconds(lambda: kinds[OperatorTask](values))
    with taskfmm.profile() as recorded:
        heard = microseconds(lambda: kinds[OperatorTask](values))
    assert recorded.totals()["tasks"] == ROUNDS * CALLS
    click.echo(f"plain Dask task         {plain:6.2f} us a call")
    click.echo(f"ours, no profile open   {silent:6.2f} us, {silent - plain:+.2f}")
    click.echo(f"ours, in a profile      {heard:6.2f} us, {heard - silent:+.2f}")


if __name__ == "__main__":
    main()
