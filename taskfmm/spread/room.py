"""What planning of points that never meet takes, of memory and of disk, and saying no before it is too late.

Bytes a point were measured with stages that run alone, on clouds of all shapes, at eps 1e-3 to 1e-9.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dask.utils import format_bytes

from taskfmm.errors import MemoryLimitError, StorageError
from taskfmm.operators.levels import Operators
from taskfmm.operators.size import least_bytes
from taskfmm.runtime import cluster, layout
from taskfmm.runtime.memory import WORKER
from taskfmm.spread import depot

LADDER = tuple(2**power for power in range(20, 15, -1))
"""Points of a region, about: the largest that fits. Last digits hang on it, so that a worker with a little more
memory than another should not get another number."""

REGIONS = 2048
"""Where there would be more regions they are larger, if memory allows: one scheduler has the tasks of all."""

CHOSEN = 1_500_000
"""Points that decide the leaves: all of some cells, since a thinner cloud would have other leaves."""

REGION_POINT = 560
"""Bytes that the hungriest stage, `taskfmm.spread.stages.works`, takes for a point of a region: 300 to 390 in a
million points, and up to 560 in the smallest regions and in leaves of 20 points."""

SOFTENED_POINT = 2400
"""The same where boxes may be no narrower than a softening: a leaf that is full meets up to 26 like it one by one,
whose coordinates are read, 48 bytes each, and written into its work, 28 bytes. Leaves of 2,000 points took 550 to
710, those of 15,000 up to 1,340; by this count a leaf that is a region takes 2,400."""

LARGER = 1.25
"""Times as many points as it should have, a region may have: where it ends is a matter of whole units."""

CHUNK_POINT = 180
"""Bytes that `taskfmm.spread.chunks.sort` takes for a point of a chunk: 155, and the chunk comes from somewhere."""

USED = 0.7
"""Of a worker's memory that stages may fill: above it Dask writes results to the disk, and soon pauses the worker."""

DISK = {"look": 255, "sort": 231, "gather": 207, "works": 197}
"""Bytes a point by which the directory grows at most, from a stage to the end: those of Plummer's clouds at 1e-6, of
cubes and spheres they are 200 to 235. Works have up to 280 at eps 1e-9 or of vectors, where 197 are counted."""


@dataclass(frozen=True, slots=True)
class Room:
    """What the memory of the smallest worker allows.

    region : points of a region, about
    most : points of a region that nobody can divide, None for no limit
    """

    region: int
    most: int | None = None

    @property
    def chosen(self) -> int:
        """Points that decide the leaves, in one task: as regions of one size have the same leaves anywhere."""
        return min(CHOSEN, 2 * max(self.region, LADDER[-1]))

    def refuse_crowded(self, points: int, softened: bool = False) -> None:
        """Raise MemoryLimitError for a region with more points than fit, as those in one place cannot be divided.

        softened : whether boxes stay whole where sources are softened as well
        """
        if self.most is not None and points > self.most:
            or_in = ", or in a box as wide as the longest softening reaches" if softened else ""
            or_limit = ", or limit the softening" if softened else ""
            raise MemoryLimitError(
                f"one task has to hold {points:,} points, as most of them lie very close together{or_in}, and each "
                f"thread of the smallest worker has memory for {self.most:,}: give workers more memory or fewer "
                f"threads{or_limit}"
            )


def of_workers(
    n: int, longest: int, region: int | None, operators: Operators, softened: bool = False
) -> Room:
    """What fits the workers that there are now, see `of_memory`; softened : whether sources have lengths"""
    at, used = layout.current(), least_bytes(operators.kernel, operators.accuracy)
    point = SOFTENED_POINT if softened else REGION_POINT
    return of_memory(n, longest, region, used, at.memory_limit, at.threads, point)


def of_memory(
    n: int,
    longest: int,
    region: int | None,
    operators: int,
    limit: int | None,
    threads: int,
    point: int = REGION_POINT,
) -> Room:
    """What fits a worker, one region or chunk in each of its threads.

    n : points; longest : of a chunk; region : what the caller asks for
    operators : bytes of them, at least; limit : of the worker; point : bytes that one of a region takes

    Raises
    ------
    MemoryLimitError
        Not even a small region fits, or not the one that was asked for, or no chunk.
    """
    sizes = LADDER
    while n > REGIONS * sizes[0]:
        sizes = (2 * sizes[0], *sizes)
    if not limit:
        return Room(region or sizes[0])
    free = max(0, int(USED * limit) - WORKER - operators) // threads
    whose = (
        f"the smallest worker has {format_bytes(limit)}, which leaves {format_bytes(free)} for each of its threads "
        f"(there are {threads} at most)"
    )
    most = int(free / point / LARGER)
    fitting = [size for size in sizes if min(n, size) <= most]
    if not fitting or min(n, region or 0) > most:
        wanted = min(n, region if fitting and region else LADDER[-1])
        advice = (
            f"give a region of at most {most:,}" if fitting else "give workers more memory or fewer threads"
        )
        raise MemoryLimitError(
            f"a region of {wanted:,} points takes about {format_bytes(int(LARGER * wanted * point))} while it "
            f"is planned, and {whose}: {advice}"
        )
    if longest * CHUNK_POINT > free:
        raise MemoryLimitError(
            f"a chunk of {longest:,} points takes about {format_bytes(longest * CHUNK_POINT)} while it is sorted, "
            f"and {whose}: rechunk points to at most {free // CHUNK_POINT:,} rows, or give workers more memory"
        )
    return Room(region or fitting[0], int(LARGER * most))


def refuse_full(path: Path, stage: str, n: int) -> None:
    """Raise StorageError where a directory has no room for what this stage and those after it write of n points."""
    needed = n * DISK.get(stage, 0)
    if needed and needed > (free := depot.free(path)):
        raise StorageError(
            f"planning {n:,} points needs about {format_bytes(needed)} on the disk, {format_bytes(free)} are free in "
            f"{depot.where(path)}: make room there, or name another directory as {cluster.SHARED_DIRECTORY} in "
            "Dask's configuration"
        )
