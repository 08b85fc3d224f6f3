"""Sizes of the graphs of points that never meet, and what their tasks do besides operators.

They follow what `taskfmm.spread.planning` and `taskfmm.spread.build` make: a task for each chunk and for each region,
and none for both.
"""

from __future__ import annotations

from typing import Any

from taskfmm.cost.counts import Counts
from taskfmm.forecast.regions import Regions, Works
from taskfmm.passes.drive import drive
from taskfmm.passes.operators import OPERATORS
from taskfmm.spread.plan import SpreadPlan

ROUNDS = 2
"""Of balance: one to three were seen, the later ones with some of the regions only."""


def graph(
    works: Works,
    n_regions: int,
    n_chunks: int,
    n_outputs: int = 1,
    n_kinds: int = 1,
    of_targets: int | None = None,
    with_sources: int | None = None,
) -> tuple[int, int]:
    """Tasks and edges of an evaluation, beside those of the charges themselves.

    n_kinds : kinds of sources, times vectors; n_chunks : of the charges
    of_targets : chunks of the targets, where these are others
    with_sources : regions that have any, where targets are others
    """
    results = n_chunks if of_targets is None else of_targets
    entered = n_regions if with_sources is None else with_sources
    # each chunk of charges is read by a task that writes it; all regions wait for the exponents, which read these
    tasks, edges = n_kinds * n_chunks + 1 + entered, 2 * n_kinds * n_chunks + entered
    of, reads = works.works.__getitem__, sum(works.reads.values())
    tasks += round(sum(works.works.values()))
    # M2M adds to what P2M gave, L2L to what M2L and P2L gave; L2P reads a local, and what M2P gave
    edges += round(reads + works.both + of("M2L") + of("P2L") + of("L2P") + of("M2P"))
    # a region reads its values and the exponents; all chunks of the result wait for one task, which reads the regions
    tasks += n_outputs * (n_regions + 1 + results)
    edges += n_outputs * (round(of("L2P") + of("P2P")) + 2 * n_regions + results)
    return tasks, edges


def works_of(plan: SpreadPlan) -> Works:
    """Works and their reads, counted."""
    works, reads = (dict.fromkeys(OPERATORS, 0.0) for _ in range(2))
    both = 0

    def call(name: str, at: tuple[int, int], work: Any, *inputs: Any) -> str:
        nonlocal both
        halos = [] if work is None else [work.halo, work.charges, work.own]
        works[name] += 1
        if name != "L2P":
            reads[name] += len({number for halo in halos if halo is not None for number in halo.shards})
        both += name == "M2M" and inputs[0] is not None
        return name

    drive(plan, [0] * len(plan.charges), call)
    return Works(works, reads, both)


def planning_graph(
    found: Regions, n_chunks: int, chosen: bool = True, of_sources: int = 0
) -> tuple[int, int]:
    """Tasks and edges of all stages of a plan, beside those of the points; see `taskfmm.spread.planning`.

    chosen : whether leaves are, for which all chunks are looked at
    of_sources : chunks that are counted once more, where the targets are others
    """
    of_chunks = 3 + chosen + found.counts  # look, sort, deal; pick; and as often as cells are counted
    of_regions = 4 + ROUNDS  # gather, balance, settle, survey and works; the last two also of the top
    tasks = of_chunks * n_chunks + of_sources + chosen + of_regions * found.regions + 2 * (found.units > 1)
    return tasks, (1 + chosen) * n_chunks


def beside(n: int, numbers: int, rows: int) -> Counts:
    """What no operator does: charges into regions, and results back into chunks, by files."""
    # both are put in order where they are written and where they are read; results are added up as well
    return Counts(alone={"copied": n * 5.0 * (numbers + rows), "gathered": n * (2.0 * numbers + 4.0 * rows)})
