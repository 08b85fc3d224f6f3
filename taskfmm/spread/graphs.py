"""Sizes of the graphs of points that never meet, and what their tasks do besides operators.

They follow what `taskfmm.spread.planning`, `taskfmm.graph.charges` and `taskfmm.spread.evaluation` make: charges
enter by a task for each region and group of chunks, and each chunk of the result reads all regions. What is held and
sent for that reason is in `taskfmm.spread.ahead`: ``sent_bytes``, and the last of its `STAGES`.
"""

from __future__ import annotations

from taskfmm.cost.counts import Counts
from taskfmm.forecast.regions import Regions, Works

ROUNDS = 2
"""Of balance: one to three were seen, the later ones with some of the regions only."""


def graph(
    works: Works, n_regions: int, n_chunks: int, n_outputs: int = 1, n_kinds: int = 1
) -> tuple[int, int]:
    """Tasks and edges of an evaluation whose charges are lazy, beside those of the charges themselves.

    n_regions : shards of charges, and of results; n_chunks : of the charges, and of the points
    """
    groups = min(n_regions, n_chunks)
    pieces = n_regions * groups
    taken = n_regions * (groups > 1)
    # given, power, piece and taken; exponent; charges
    tasks = n_kinds * (2 * groups + pieces + taken) + 1 + n_regions
    edges = n_kinds * (n_chunks + groups + pieces * (1 + (groups > 1)))
    edges += n_kinds * groups + n_regions * (n_kinds + 1)
    of, reads = works.works.__getitem__, sum(works.reads.values())
    tasks += round(sum(works.works.values()))
    # M2M adds to what P2M gave, L2L to what M2L and P2L gave; L2P reads a local, and what M2P gave
    edges += round(reads + works.both + of("M2L") + of("P2L") + of("L2P") + of("M2P"))
    # results of regions, each read by all chunks
    tasks += n_outputs * (n_regions + n_chunks)
    edges += n_outputs * (round(of("L2P") + of("P2P")) + n_regions + n_chunks * n_regions)
    return tasks, edges


def planning_graph(found: Regions, n_chunks: int) -> tuple[int, int]:
    """Tasks and edges of all stages of a plan, beside those of the points; see `taskfmm.spread.planning`."""
    of_chunks = 3 + found.counts  # look, pick, sort, and as often as cells are counted
    of_regions = 4 + ROUNDS  # gather, balance, settle, survey and works; the last two also of the top
    return of_chunks * n_chunks + 1 + of_regions * found.regions + 2, 2 * n_chunks


def beside(n: int, found: Regions, chunks: int, numbers: int, rows: int) -> Counts:
    """What no operator does: charges into regions, and results back into chunks."""
    groups = min(chunks, found.regions)
    # each region looks at its rows once for each group of chunks, and once more where pieces are put together
    looked = 4.0 * n * groups * (1 + (groups > 1))
    copied = looked + n * (4.0 * numbers + 4.0 * rows)
    return Counts(alone={"copied": copied, "gathered": n * (2.0 * numbers + 4.0 * rows)})
