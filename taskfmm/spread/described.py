"""What a plan of points that never meet tells of itself."""

from __future__ import annotations

from typing import Any

import psutil
from dask.utils import format_bytes

from taskfmm import choices
from taskfmm.cost import rates
from taskfmm.errors import InputError
from taskfmm.forecast.regions import Regions, rounds
from taskfmm.forecast.shown import duration, table
from taskfmm.operators import size
from taskfmm.plan.planned import Asked
from taskfmm.runtime import cluster, layout, memory
from taskfmm.runtime.layout import Layout
from taskfmm.runtime.threads import n_cores
from taskfmm.spread.ahead import Ahead
from taskfmm.spread.as_text import text
from taskfmm.spread.graphs import beside, works_of
from taskfmm.spread.plan import SpreadPlan
from taskfmm.spread.room import Room


class DescribedSpread:
    """A plan, with how many points and chunks it has."""

    plan: SpreadPlan | None
    leaf_size: int | None
    n_sources: int
    n_targets: int
    separate: bool
    _asked: Asked
    _chunks: tuple[int, ...]

    def forecast(
        self,
        workers: int | None = None,
        memory_limit: Any = None,
        threads: int | None = None,
        cores: int | None = None,
    ) -> Ahead:
        """What an evaluation of the kernel's first output takes: its graph, seconds, memory, disk.

        The charges are lazy, and ``like`` is not counted. The memory of a worker is the largest that it takes while
        it plans or evaluates.

        Parameters
        ----------
        workers, threads : int, optional
            Processes, and tasks at once in each: those there are now, if left out.
        memory_limit : bytes, or a text such as "8GiB", optional
            What each process may hold; if there is no limit, the memory of this machine.
        cores : int, optional
            That all workers share, if they are fewer than their threads.

        Returns
        -------
        Ahead
            Its ``facts()`` are data; `explain` shows them.

        Raises
        ------
        InputError
            A plan without points, of which there is nothing to tell, or a number that is none.
        """
        if self.plan is None:
            raise InputError(
                "there are no sources or no targets, so that every output is zero: nothing to foretell"
            )
        now = layout.current()
        if cores is workers is threads is None and _here(now):
            cores = min(now.workers * now.threads, n_cores())
        workers = choices.number("workers", now.workers if workers is None else workers)
        threads = choices.number("threads", now.threads if threads is None else threads)
        cores = workers * threads if cores is None else cores
        limit = memory.parse_limit(memory_limit) or now.memory_limit or psutil.virtual_memory().total
        asked, kernel = self._asked, self._asked.kernel
        accuracy = self.plan.facts.evaluated
        outline = size.outline(kernel, accuracy)
        n, numbers = self.n_targets + self.separate * self.n_sources, kernel.of_first.n_numbers
        rows = kernel.output(asked.first).n_rows
        return Ahead(
            n, "as planned", kernel.name, asked.eps, asked.dtype, accuracy, self.leaf_size or 0, self.plan.chosen,
            Room(n // self.plan.facts.units.n_regions), "", len(self.plan.of_sources), workers, threads,
            choices.number("cores", cores), limit, _regions(self.plan, n),
            beside(n, numbers, rows).seconds(rates.current()), outline.n_bytes, numbers, rows,
            outline.rank * kernel.columns,
            len(self._chunks) if self.separate else None,
            len(self.plan.with_sources) if self.separate else None,
        )  # fmt: skip

    def explain(
        self,
        workers: int | None = None,
        memory_limit: Any = None,
        threads: int | None = None,
        cores: int | None = None,
    ) -> str:
        """`forecast`, as text."""
        return text(self.forecast(workers, memory_limit, threads, cores))

    def facts(
        self,
        workers: int | None = None,
        memory_limit: Any = None,
        threads: int | None = None,
        cores: int | None = None,
    ) -> dict[str, Any]:
        """`forecast`, as data."""
        return self.forecast(workers, memory_limit, threads, cores).facts()

    def _repr_html_(self) -> str:
        asked = self._asked
        points = f"{self.n_sources:,}" + self.separate * f" sources, {self.n_targets:,} targets"
        rows = {
            "points": points,
            "kernel": asked.kernel.name,
            "eps": f"{asked.eps:g}",
            "dtype": str(asked.dtype),
        }
        if self.plan is not None:
            found = self.forecast()
            own = found.regions
            rows |= {
                "order": f"{found.accuracy.order}",
                "leaf size": f"{self.leaf_size:,}",
                "regions": f"{own.regions:,}",
                "boxes": f"{round(own.boxes):,} on {own.n_levels} levels",
                "tasks": f"{found.graph['tasks']:,}",
                "expected": f"{duration(found.seconds['all'])} a {asked.first}, on {layout.current()}",
                "directory": format_bytes(round(found.disk_bytes)),
                "peak memory": f"{format_bytes(found.memory['peak'])} of a worker",
            }
        return table("taskfmm.spread.Spread", rows)


def _here(now: Layout) -> bool:
    """Whether all workers share the cores of this machine."""
    client = cluster.active_client()
    return now.scheduler == "processes" or (client is not None and cluster.workers_are_here(client))


def _regions(plan: SpreadPlan, n: int) -> Regions:
    """What was found of all regions; n : points."""
    units, sizes = plan.facts.units, plan.sizes
    deepest = int(units.cells.level.max(initial=0))
    return Regions(
        units.n_regions,
        len(units.cells),
        len(plan.far),
        sizes.boxes,
        sizes.leaves,
        rounds(deepest) if len(units.top) else 0,
        works_of(plan),
        sizes.seconds,
        sizes.n_bytes / n,
        max(0, sizes.met - int(units.n_sources.sum())) / n,
    )
