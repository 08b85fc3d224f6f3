"""What a plan of points that never meet, and an evaluation, will take: graph, seconds, memory, disk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from taskfmm.cost import rates
from taskfmm.forecast.effort import DOUBLE
from taskfmm.forecast.forecast import HEAP, REMOTE_BYTE, REMOTE_START, REMOTE_TASK
from taskfmm.forecast.regions import Regions
from taskfmm.operators import size
from taskfmm.operators.accuracy import Accuracy
from taskfmm.runtime import memory
from taskfmm.spread.graphs import graph, planning_graph
from taskfmm.spread.room import Room

STAGES = ("a chunk", "the choice of leaves", "the works of a region", "an evaluation")
"""What takes memory, one after the other: the largest counts."""

REMOTE_EDGE = 4e-5
"""Seconds of the distributed scheduler for an edge: 22,000 edges made 1,800 tasks take 0.9 s more."""

CLIENT_TASK, SCHEDULER_TASK = 8_000, 20_000
"""Bytes of a task of the graph in the client, and in the scheduler with some five edges."""

SCHEDULER_EDGE = 200
"""Bytes of an edge beyond these: a key in two sets."""

UNIT = 64
"""Bytes of a unit and of the boxes above it, in the client and in each task of a stage."""

STORED, ESSENTIAL, LOOKED = 60, 56, 150
"""Bytes of a point: in the files of its region and of its chunk, besides works; in the task that makes works, besides
these; and in the tasks that sort a chunk."""

BOX = 22
"""Bytes of a box in the files of its region, besides works."""

FULL = 0.9
"""A worker pauses where it takes more of its memory than about so much (Dask's default is 0.8 and 0.95)."""


@dataclass(frozen=True)
class Ahead:
    """What is expected, see `forecast`.

    workers, threads, cores : processes, tasks at once in each, and cores that all of them share
    memory_limit : bytes of a worker; chunks : of points and charges
    chosen : whether leaves are, by the plan
    space : what this memory allows; refused : what `from_dask` says of it, if it refuses
    regions : numbers of regions, boxes and works; other_seconds : of one core, for what is no operator's
    operators, numbers, rows, coefficients : bytes of operators; numbers of a source and of a result; and of a box
    of_targets, with_sources : as of `taskfmm.spread.graphs.graph`
    """

    n_points: int
    shape: str
    kernel: str
    eps: float
    dtype: np.dtype
    accuracy: Accuracy
    leaf_size: int
    chosen: bool
    space: Room
    refused: str
    chunks: int
    workers: int
    threads: int
    cores: int
    memory_limit: int
    regions: Regions
    other_seconds: float
    operators: int
    numbers: int
    rows: int
    coefficients: int
    of_targets: int | None = None
    with_sources: int | None = None

    @cached_property
    def planning(self) -> dict[str, int]:
        """Tasks and edges of the plan."""
        targets = self.of_targets or 0
        counted_again = self.chunks if targets else 0
        tasks, edges = planning_graph(self.regions, self.chunks + targets, self.chosen, counted_again)
        return {"tasks": tasks, "edges": edges}

    @cached_property
    def graph(self) -> dict[str, int]:
        """Tasks and edges of an evaluation of the kernel's first output."""
        tasks, edges = graph(
            self.regions.works,
            self.regions.regions,
            self.chunks,
            of_targets=self.of_targets,
            with_sources=self.with_sources,
        )
        return {"tasks": tasks, "edges": edges}

    @property
    def at_once(self) -> int:
        """Tasks that run at once."""
        return min(self.workers * self.threads, self.cores)

    @property
    def sent_bytes(self) -> float:
        """From worker to worker: charges and expansions that neighbours read, and what a task leaves to the next."""
        w, n, expansions = self.workers, self.n_points, self.coefficients * self.regions.boxes
        across = self.regions.works.reads["M2L"] / max(1.0, self.regions.works.works["M2L"])
        copies = (w - 1) * (1.0 - (1.0 - 1.0 / w) ** across)
        # locals, and values of the far and of the near field, which are often where they are needed
        left = (1.0 - 1.0 / w) * (expansions + 2 * n * self.rows)
        return DOUBLE * (copies * (n * self.numbers + expansions) + left)

    @property
    def file_bytes(self) -> float:
        """Through files: works are read, charges and results are written and read."""
        return self.n_points * (self.regions.work_bytes + 2 * DOUBLE * (self.numbers + self.rows))

    @cached_property
    def seconds(self) -> dict[str, float]:
        """Of an evaluation: arithmetic of one core, scheduler, transfers, and what all of it takes."""
        tasks, edges = self.graph["tasks"], self.graph["edges"]
        arithmetic = sum(self.regions.seconds.values()) + self.other_seconds + tasks * rates.current().call
        scheduler = tasks * REMOTE_TASK + edges * REMOTE_EDGE
        transfers = self.sent_bytes * REMOTE_BYTE / self.at_once
        # a worker waits for half of what the scheduler does, as in the forecast of other plans
        busy = arithmetic / self.at_once + transfers + scheduler / 2
        return {
            "arithmetic": arithmetic,
            "scheduler": scheduler,
            "transfers": transfers,
            "all": REMOTE_START + max(scheduler, busy),
        }

    @cached_property
    def memory(self) -> dict[str, int]:
        """Peak of a worker in bytes, what it is made of, and what its tasks need in each stage."""
        own = self.regions
        region = self.n_points / own.regions
        live = (
            DOUBLE * (2 * self.numbers + 2 * self.rows)
            + DOUBLE * self.coefficients * own.boxes / self.n_points
        )
        stages = {
            STAGES[0]: self.threads * LOOKED * self.n_points / (self.chunks + (self.of_targets or 0)),
            STAGES[1]: self.chosen * LOOKED / 2 * min(self.n_points, self.space.chosen),
            STAGES[2]: self.threads * region * (own.work_bytes + ESSENTIAL + 24 * own.met),
            STAGES[3]: HEAP * live * self.n_points / self.workers + self.threads * 48 * region,
        }
        found = {name: int(each) for name, each in stages.items()}
        parts = {"process": memory.WORKER, "operators": self.operators}
        least = int((size.READING - 1.0) * self.operators)
        return parts | found | {"peak": sum(parts.values()) + max(least, *found.values())}

    @property
    def disk_bytes(self) -> float:
        """Of the directory of the plan, where an evaluation adds its charges and results."""
        return self.n_points * (STORED + self.regions.work_bytes) + BOX * self.regions.boxes

    @property
    def client_bytes(self) -> dict[str, int]:
        """What the client and the scheduler hold of a plan and an evaluation, beside their interpreters."""
        tasks, edges = self.graph["tasks"], self.graph["edges"]
        own = CLIENT_TASK * tasks + SCHEDULER_EDGE * edges + int(UNIT * self.regions.units)
        return {"client": own, "scheduler": SCHEDULER_TASK * tasks + SCHEDULER_EDGE * edges}

    @property
    def fits(self) -> bool:
        """Whether a worker has the memory."""
        return not self.refused and self.memory["peak"] <= FULL * self.memory_limit

    def facts(self) -> dict[str, Any]:
        """All of it as data."""
        own = self.regions
        return {
            "points": self.n_points,
            "shape": self.shape,
            "kernel": self.kernel,
            "eps": self.eps,
            "order": self.accuracy.order,
            "dtype": str(self.dtype),
            "leaf_size": self.leaf_size,
            "workers": self.workers,
            "threads": self.threads,
            "cores": self.cores,
            "memory_limit": self.memory_limit,
            "chunks": self.chunks,
            "regions": own.regions,
            "units": round(own.units),
            "boxes": round(own.boxes),
            "levels": own.n_levels,
            "planning": self.planning,
            "graph": self.graph,
            "works": {name: round(n) for name, n in own.works.works.items()},
            "seconds": self.seconds,
            "operators": dict(own.seconds),
            "other_seconds": self.other_seconds,
            "sent_bytes": round(self.sent_bytes),
            "file_bytes": round(self.file_bytes),
            "memory": self.memory,
            "disk_bytes": round(self.disk_bytes),
            **{f"{where}_bytes": n for where, n in self.client_bytes.items()},
            "fits": self.fits,
            "advice": list(self.advice),
        }

    @property
    def advice(self) -> tuple[str, ...]:
        """What to change where a worker has too little memory, or the scheduler too much to do."""
        found = [] if self.fits else [self.refused or self._smaller()]
        seconds = self.seconds
        if seconds["scheduler"] > seconds["arithmetic"] / self.at_once:
            enough = max(1, round(seconds["arithmetic"] / seconds["scheduler"]))
            found.append(
                f"the scheduler takes longer than the arithmetic, for {self.graph['tasks']:,} tasks: more than some "
                f"{enough} at once are no quicker; larger regions and chunks make fewer of them"
            )
        return tuple(found)

    def _smaller(self) -> str:
        """What to do about the largest part of the memory."""
        parts = {name: n for name, n in self.memory.items() if name in STAGES}
        largest = max(parts, key=parts.__getitem__)
        room = FULL * self.memory_limit - (self.memory["peak"] - parts[largest])
        more = ""
        if largest == "an evaluation" and room > 0:
            # of several workers each holds a little more than its part
            enough = 1.05 * self.workers * parts[largest] / room
            more = f"take {_rounded(enough, 1)} workers or more, or "
        return (
            f"{_gib(parts[largest])} for {largest}, of a worker that has {_gib(self.memory_limit)}: {more}"
            f"take workers of {_gib(self.memory['peak'] / FULL)}"
        )


def _rounded(n: float, up: int = 0) -> str:
    """Two digits, downwards, or upwards if 1."""
    digits = 10 ** max(0, len(str(int(n))) - 2)
    return f"{(int(n) // digits + up) * digits:,}"


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:,.1f} GiB"
