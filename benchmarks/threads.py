"""Dask threads x Numba threads: 1x2, 2x1, and 2x2, which oversubscribes two cores on purpose.

``python -m benchmarks.threads --n 1e6``. Every split has a fresh process; all stay alive and take turns, so that
what else the machine does meets them alike. Threads are counted as the system does, before the first evaluation
and at most during one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import click
import dask
import numpy as np

from benchmarks.fresh import Count
from taskfmm import bench
from taskfmm.fmm import Fmm
from taskfmm.generate import cloud

SPLITS = ("1x2", "2x1", "2x2")
REFERENCE = "2x1"
COLUMNS = f"{'T x K':<6}{'seconds':>9}{'ratio':>7}{'CPU s':>8}{'threads before':>16}{'during':>8}  which"


def threads_of_this_process() -> int:
    """Threads that the system knows of."""
    return len(list(Path("/proc/self/task").iterdir()))


def threads_by_name() -> Counter[str]:
    """The same, split: Python's own (the main thread, Dask's pool, others) and those that libraries made."""
    found: Counter[str] = Counter()
    for thread in threading.enumerate():
        is_pool = thread.name.startswith("ThreadPoolExecutor")
        found["main" if thread is threading.main_thread() else "dask" if is_pool else "python"] += 1
    found["native (OpenMP, BLAS)"] = threads_of_this_process() - found.total()
    return found


class Watch(threading.Thread):
    """Keeps the largest number of threads seen; not counting itself."""

    def __init__(self) -> None:
        super().__init__(daemon=True, name="watch")
        self.most = 0
        self.names: dict[str, int] = {}
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.01):
            names = threads_by_name()
            names["python"] -= 1
            if names.total() > self.most:
                self.most, self.names = names.total(), {name: n for name, n in names.items() if n}


def serve(split: str, n: int, eps: float, seed: int) -> None:
    """One split: plans, then answers each line on standard input with one more evaluation."""
    dask_threads, numba_threads = map(int, split.split("x"))
    how = {"taskfmm.numba-threads": numba_threads, "taskfmm.oversubscribe": True}
    dask.config.set({**how, "scheduler": "threads", "num_workers": dask_threads})
    sources, charges = cloud("sphere", n, signed=True, seed=seed)
    with dask.config.set({"taskfmm.numba-threads": 1}):
        fmm = Fmm(sources, eps=eps)
    say({"threads": threads_of_this_process(), "names": threads_by_name()})
    for number, _ in enumerate(sys.stdin):
        watch = Watch()
        watch.start()
        wall, cpu = time.perf_counter(), time.process_time()
        phi = fmm.potential(bench.new_charges(charges, number)).compute()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        watch.done.set()
        watch.join()
        digest = float(np.abs(phi).sum())
        say({"seconds": wall, "cpu": cpu, "threads": watch.most, "names": watch.names, "sum": digest})


def say(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


def ask(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of a split."""
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise click.ClickException(f"a split ended with exit code {process.wait()}")
    return json.loads(line)


def measure(n: int, eps: float, seed: int, repeats: int) -> list[dict[str, Any]]:
    """A row for each split."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.threads",
        "--n",
        str(n),
        "--eps",
        str(eps),
        "--seed",
        str(seed),
    ]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    running: dict[str, subprocess.Popen[str]] = {}
    try:
        before = {}
        for split in SPLITS:  # one after the other, so that planning disturbs nobody
            running[split] = subprocess.Popen([*command, "--serve", split], **pipes)
            before[split] = ask(running[split])
        runs: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        for _ in range(repeats + 1):
            for split in SPLITS:
                pipe = running[split].stdin
                assert pipe
                pipe.write("\n")
                pipe.flush()
                runs[split].append(ask(running[split]))
    finally:
        for process in running.values():
            process.kill()
            process.communicate()
    if len({tuple(run["sum"] for run in runs[split]) for split in SPLITS}) > 1:
        raise click.ClickException("the splits do not give the same bits")
    return [row(split, before[split], runs[split], runs[REFERENCE]) for split in SPLITS]


def row(
    split: str, before: dict[str, Any], runs: list[dict[str, Any]], reference: list[dict[str, Any]]
) -> dict[str, Any]:
    """Medians of all runs but the first, which compiles; the ratio is the median of ratios in the same turn."""
    most = max(runs, key=lambda run: run["threads"])
    return {
        "split": split,
        "seconds": median(run["seconds"] for run in runs[1:]),
        "ratio": median(a["seconds"] / b["seconds"] for a, b in zip(runs[1:], reference[1:], strict=True)),
        "cpu_seconds": median(run["cpu"] for run in runs[1:]),
        "threads_before": before["threads"],
        "threads_during": most["threads"],
        "threads_by_name": most["names"],
        "all_seconds": [run["seconds"] for run in runs],
    }


def text(found: dict[str, Any]) -> str:
    """One line."""
    names = ", ".join(f"{n} {name}" for name, n in found["threads_by_name"].items())
    return (
        f"{found['split']:<6}{found['seconds']:>9.3f}{found['ratio']:>7.2f}{found['cpu_seconds']:>8.2f}"
        f"{found['threads_before']:>16}{found['threads_during']:>8}  {names}"
    )


@click.command()
@click.option("--n", type=Count(), default="1e6", show_default=True, help="Points on a sphere.")
@click.option("--eps", type=float, default=1e-6, show_default=True)
@click.option("--seed", type=int, default=3181)
@click.option("--repeats", type=click.IntRange(min=1), default=7, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--serve", "split", type=click.Choice(SPLITS), hidden=True)
def main(n: int, eps: float, seed: int, repeats: int, as_json: bool, split: str | None) -> None:
    """Seconds, CPU seconds and threads of each split of two threads and of four."""
    if split:
        serve(split, n, eps, seed)
        return
    rows = measure(n, eps, seed, repeats)
    print(json.dumps(rows) if as_json else "\n".join([COLUMNS, *map(text, rows)]))


if __name__ == "__main__":
    main()
