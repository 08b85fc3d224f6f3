"""Faults of plans of points that never meet: too little room, dead workers and clients, damaged files."""

from __future__ import annotations

import errno
import gc
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm.errors import MemoryLimitError, StorageError
from taskfmm.files import disk
from taskfmm.graph.reference import remove_directory
from taskfmm.runtime import once
from taskfmm.runtime.layout import Layout
from taskfmm.runtime.memory import WORKER
from taskfmm.spread import depot, lease, making, room
from taskfmm.store import file, outline
from taskfmm.testing import DISTRIBUTIONS

N = 4000
MIB = 2**20


def cloud(seed: int, n: int = N) -> np.ndarray:
    return np.ascontiguousarray(DISTRIBUTIONS["plummer"](n, np.random.default_rng(seed)))


def lazy(array: np.ndarray, size: int) -> da.Array:
    return da.from_array(array, chunks=(size, *array.shape[1:]))


@pytest.fixture
def directory(tmp_path):
    """Where files go in this test."""
    with dask.config.set({"temporary-directory": str(tmp_path)}):
        yield tmp_path


def left(directory: Path) -> list[Path]:
    """What is there once nothing in this process holds a plan."""
    gc.collect()
    return list(directory.iterdir())


def workers_with(monkeypatch, memory: int, threads: int = 1) -> None:
    """Workers of that many bytes, as far as planning sees."""
    monkeypatch.setattr(
        room.layout, "current", lambda: Layout("distributed", 2, threads, memory_limit=memory)
    )


def leaving(per_thread: int, threads: int = 1) -> int:
    """The limit of a worker with so many bytes for each thread."""
    operators = room.least_bytes(*_operators())
    return int((per_thread * threads + WORKER + operators + MIB) / room.USED)


def _operators():
    fmm = taskfmm.Fmm.from_dask(lazy(cloud(1, 50), 50), eps=1e-3)
    return fmm.kernel.of_first.expands, fmm.accuracy("potential")


@each("points, threads", [(2**20, 1), (2**19, 1), (2**19 + 1000, 2), (2**16, 4)])
def test_regions_follow_from_the_memory_of_each_thread(monkeypatch, points, threads):
    at = leaving(int(room.LARGER * points * room.REGION_POINT), threads)
    operators = taskfmm.operators.levels.Operators(*_operators())
    workers_with(monkeypatch, at, threads)
    found = room.of_workers(10**8, 1000, None, operators)
    assert found.region == 2 ** int(np.log2(points))
    assert found.chosen == min(room.CHOSEN, 2 * found.region)


def test_with_a_region_given_nothing_hangs_on_memory(monkeypatch):
    """Neither the region nor the points that decide the leaves, wherever it is planned."""
    operators, found = taskfmm.operators.levels.Operators(*_operators()), []
    for limit in (0, leaving(50 * MIB), 2**35):
        workers_with(monkeypatch, limit)
        of_workers = room.of_workers(10**8, 1000, 60_000, operators)
        found.append((of_workers.region, of_workers.chosen))
    assert found == 3 * [(60_000, 2 * room.LADDER[-1])]


@each(
    "free, given, says",
    [
        (
            20,
            {},
            r"a region of 65,536 points takes about 43.75 MiB .* leaves 2\d.* MiB .* more memory or fewer",
        ),
        (20, dict(region=70_000), "a region of 65,536 points .* more memory or fewer threads"),
        (60, dict(region=10**5), r"a region of 100,000 points takes .*: give a region of at most 9\d,\d\d\d"),
        (
            60,
            dict(rows=6 * 10**5),
            r"a chunk of 600,000 points takes .* rechunk points to at most 3\d\d,\d\d\d rows",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(directory, monkeypatch, free, given, says):
    workers_with(monkeypatch, leaving(free * MIB))
    ran = []
    x = da.zeros((10**6, 3), chunks=(given.pop("rows", 10_000), 3))
    x = x.map_blocks(lambda block: ran.append(1) or block, dtype=float, meta=np.empty((0, 3)))
    with pytest.raises(MemoryLimitError, match=says):
        taskfmm.Fmm.from_dask(x, eps=1e-3, **given)
    assert not ran
    assert left(directory) == []


def test_points_in_one_place_that_no_task_can_hold_are_refused(directory, monkeypatch):
    """Counted before they are brought together; nothing is left behind."""
    monkeypatch.setattr(room, "of_workers", lambda *_: room.Room(1000, 1500))
    with pytest.raises(MemoryLimitError, match=r"one task has to hold 4,000 points.* memory for 1,500"):
        taskfmm.Fmm.from_dask(lazy(np.concatenate([cloud(2, 2000), np.ones((2000, 3))]), 1000), eps=1e-3)
    assert left(directory) == []


def test_a_directory_without_room_is_refused_before_the_start(directory, monkeypatch):
    usage = shutil.disk_usage(directory)._replace(free=room.DISK["look"] * N - 1)
    monkeypatch.setattr(depot.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(
        StorageError, match=rf"4,000 points needs about 0.97 MiB .* are free in {directory}: make"
    ):
        taskfmm.Fmm.from_dask(lazy(cloud(3), 1000), eps=1e-3)
    assert left(directory) == []
    monkeypatch.setattr(depot.shutil, "disk_usage", lambda path: usage._replace(free=usage.free + 1))
    taskfmm.Fmm.from_dask(lazy(cloud(3), 1000), eps=1e-3)


@each("stage", ["raw", "chunk", "points", "split", "boxes", "works"])
def test_a_directory_that_fills_up_is_told_and_emptied(directory, monkeypatch, stage):
    """In threads of this process, where a disk that is full can be had."""
    write_all = disk.write_all
    writers = {"raw": "look", "chunk": "sort", "points": "gather", "split": "gather", "boxes": "settle"}

    def full(descriptor, content, place=0):
        if f".{stage}-1." in os.readlink(f"/proc/self/fd/{descriptor}") and place:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_all(descriptor, content, place)

    writer = writers.get(stage, stage)
    says = rf"in its stage '{writer}', and leaves nothing in {directory}: .*{stage}-1.h5: .* No space left .* room"
    with monkeypatch.context() as patch, dask.config.set(scheduler="threads"):
        patch.setattr(disk, "write_all", full)
        with pytest.raises(StorageError, match=says) as held:
            taskfmm.Fmm.from_dask(lazy(cloud(4), 1000), eps=1e-3, leaf_size=20, region=N // 4)
    assert left(directory) == []  # although the error, and all that its frames refer to, is still there
    del held


def test_nothing_is_written_into_a_directory_that_is_being_removed(tmp_path):
    """A task that still runs when planning has failed finds no directory, and none is left with its file."""
    path = tmp_path / "taskfmm-1"
    path.mkdir()
    depot.put(path, "raw", 0, {"a": np.arange(3)})
    remove_directory(path)
    with pytest.raises(StorageError):
        depot.put(path, "raw", 1, {"a": np.arange(3)})
    assert left(tmp_path) == []


CLIENT = """
import os, sys
import dask, dask.array as da, numpy as np
import taskfmm

dask.config.set({"temporary-directory": sys.argv[1], "scheduler": "synchronous"})
x = da.from_array(np.random.default_rng(5).random((2000, 3)), chunks=(1000, 3))
plan = taskfmm.Fmm.from_dask(x, eps=1e-3)
print(plan.plan.depot.path, flush=True)
sys.stdin.readline()
os._exit(9)
"""


@pytest.fixture
def stranger(directory):
    """A process with a plan that is killed when it is told a line, and the directory of its plan."""
    command = [sys.executable, "-c", CLIENT, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as found:
        yield found, Path(found.stdout.readline().strip())
        found.kill()


def plan_beside() -> None:
    with dask.config.set(scheduler="synchronous"):
        taskfmm.Fmm.from_dask(lazy(cloud(6, 500), 500), eps=1e-3)
    gc.collect()


def test_directories_of_killed_clients_are_removed(directory, stranger, says):
    """Not before they are dead; what others have put there is not touched."""
    process, path = stranger
    mine, alike = directory / "taskfmm-1-notes", directory / f"taskfmm-7-{'a' * 32}"
    mine.mkdir()
    alike.write_text("a file")
    plan_beside()
    assert path.is_dir()
    assert not says()
    process.communicate("\n", timeout=60)
    assert process.returncode == 9
    assert path.is_dir()
    plan_beside()
    assert set(left(directory)) == {mine, alike}
    (said,) = says()
    assert re.match(
        rf"removed 1 directories of plans in {directory}, with \d\.\d MB: their processes have", said
    )


@each(
    "change, age, removed",
    [
        (dict(), 10 * lease.LONGEST, False),
        (dict(started=17.0), 0, True),
        (dict(host=["elsewhere"]), 0.9 * lease.LONGEST, False),
        (dict(host=["elsewhere"]), 1.1 * lease.LONGEST, True),
        (None, 0.9 * lease.LONGEST, False),
        (None, 1.1 * lease.LONGEST, True),
    ],
)
def test_who_is_gone(tmp_path, change, age, removed):
    """A process of this host by its number and start, one of another host by its last sign of life.

    change : of what a lease says; None for one that cannot be read
    """
    other, mine = lease.Lease(tmp_path), lease.Lease(tmp_path)
    about = json.loads((other.path / lease.NAME).read_text())
    (other.path / lease.NAME).write_text("{" if change is None else json.dumps(about | change))
    for each_path in (other.path / lease.NAME, other.path):
        os.utime(each_path, times=(time.time() - age,) * 2)
    lease.sweep(mine.path)
    assert other.path.exists() != removed
    assert mine.path.exists()
    shutil.rmtree(tmp_path / mine.path)
    shutil.rmtree(other.path, ignore_errors=True)


def test_a_lease_is_touched_while_its_process_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "TOUCHED", 0.01)
    monkeypatch.setattr(lease, "_alive", [])
    held = lease.Lease(tmp_path)
    os.utime(held.path / lease.NAME, times=(0, 0))
    until = time.monotonic() + 20
    while (held.path / lease.NAME).stat().st_mtime == 0 and time.monotonic() < until:
        time.sleep(0.01)
    assert (held.path / lease.NAME).stat().st_mtime > 0
    monkeypatch.setattr(lease, "TOUCHED", 300.0)


def test_the_rest_of_a_removed_directory_is_removed(tmp_path):
    """Its process was killed while it removed it."""
    gone = tmp_path / f"taskfmm-7-{'b' * 32}.gone"
    gone.mkdir()
    (gone / "works-1.h5").write_text("some")
    lease.sweep(lease.Lease(tmp_path).path)
    assert not gone.exists()


@pytest.fixture
def planned(directory):
    """Of several regions with boxes above them, its potentials, and the directory."""
    x, q = cloud(7), np.random.default_rng(8).uniform(-1, 1, N)
    with dask.config.set(scheduler="synchronous"):
        plan = taskfmm.Fmm.from_dask(lazy(x, 1000), eps=1e-4, leaf_size=20, region=N // 5)
        assert plan.plan.facts.units.n_regions >= 3
        phi = plan.potential(q)
        yield phi, phi.compute(), plan.plan.depot.path


def flip(path: Path, place: int) -> None:
    """A bit of a file, in place."""
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 16]))


def lose(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_in_a_work(path: Path) -> None:
    """In the middle of the largest array."""
    found = file.PlanFile(path)
    outline = found._outline(found._facts())
    kind, begin, size, _ = max(outline["datasets"].values(), key=lambda row: row[2])
    flip(path, begin + size * np.dtype(kind).itemsize // 2)


def flip_in_the_outline(path: Path) -> None:
    found = file.PlanFile(path)
    flip(path, found._facts()["outline"][0] + 100)


HARM = {"lost": lose, "cut": cut, "one bit": flip_in_a_work, "its outline": flip_in_the_outline}


@each("harm", HARM)
@each("region", [1, -1])
def test_works_that_are_damaged_or_lost_are_written_again(planned, says, monkeypatch, harm, region):
    phi, expected, path = planned
    monkeypatch.setattr(depot, "_seen", {})
    monkeypatch.setattr(once, "_said", set())
    before, n_said = (path / f"works-{region}.h5").read_bytes(), len(says())
    HARM[harm](path / f"works-{region}.h5")
    np.testing.assert_array_equal(phi.compute(), expected)
    assert (path / f"works-{region}.h5").read_bytes() == before
    assert len(says()) == n_said + 1
    assert "is written again from the points" in says()[-1]


def test_every_value_of_every_work_is_compared(planned, monkeypatch):
    """Whichever byte of an array is wrong, the value that it is part of is refused."""
    *_, path = planned
    monkeypatch.setattr(depot, "_seen", {})
    for works in path.glob("works-*.h5"):
        found = file.PlanFile(works)
        for name in found.names():
            for kind, first, shape in outline.places(found._values[name]):
                if not math.prod(shape):
                    continue
                found._maker.array(kind, first, shape).reshape(-1).view(np.uint8)[0] ^= 1  # a private copy
                with pytest.raises(StorageError, match="the checksum of"):
                    found.checked(name)
                found._maker.array(kind, first, shape).reshape(-1).view(np.uint8)[0] ^= 1
                found.checked(name)


@each("stage, writer", [("points", "gather"), ("boxes", "settle"), ("facts", "works")])
@each("harm", ["lost", "one bit"])
def test_what_cannot_be_written_again_is_named(planned, monkeypatch, stage, writer, harm):
    """Never a wrong number: works are not made from damaged points."""
    phi, expected, path = planned
    monkeypatch.setattr(depot, "_seen", {})
    kept = path / f"{stage}-0.h5"
    whole = kept.read_bytes()
    lose(path / "works-0.h5")
    HARM[harm](kept)
    with pytest.raises(
        StorageError, match=rf"{kept}: .* The stage '{writer}' of planning wrote it, .* plan again"
    ):
        phi.compute()
    kept.write_bytes(whole)
    np.testing.assert_array_equal(phi.compute(), expected)


@each(
    "stage, writer, at",
    [("raw", "look", "sort"), ("chunk", "sort", "gather"), ("points", "gather", "survey")],
)
@each("harm", ["lost", "one bit"])
def test_a_file_damaged_while_planning_is_named(directory, monkeypatch, stage, writer, at, harm):
    """Just before a stage that reads it."""
    x, run = lazy(cloud(9), 1000), making.Stages.run

    def harmed(self, reading, calls):
        if reading.__name__ == at:
            HARM[harm](self.path / f"{stage}-0.h5")
            depot._seen.clear()
        return run(self, reading, calls)

    with monkeypatch.context() as patch, dask.config.set(scheduler="synchronous"):
        patch.setattr(making.Stages, "run", harmed)
        with pytest.raises(
            StorageError, match=rf"its stage '{at}'.*{stage}-0.h5: .* stage '{writer}' .* wrote it"
        ):
            taskfmm.Fmm.from_dask(x, eps=1e-3, leaf_size=20, region=N // 4)
    assert left(directory) == []


def test_points_that_differ_whenever_they_are_computed(directory):
    """Each chunk is computed once, and all stages see what that gave."""
    computed = []

    def some(block):
        computed.append(1)
        return np.random.default_rng().random(block.shape)

    x = da.zeros((N, 3), chunks=(1000, 3)).map_blocks(some, dtype=float, meta=np.empty((0, 3)))
    q = np.random.default_rng(10).uniform(-1, 1, N)
    with dask.config.set(scheduler="threads"):
        plan = taskfmm.Fmm.from_dask(x, eps=1e-5, leaf_size=20, region=N // 4)
        assert len(computed) == 4
        found = plan.potential(q).compute()
    assert len(computed) == 4
    seen = np.empty((N, 3))
    for region in range(plan.n_regions):
        kept = depot.get(plan.plan.depot.path, "points", region)
        seen[kept["source_rows"]] = kept["sources"].T / plan.plan.scale
    assert l2_error(found, taskfmm.direct(seen, q)) <= 1e-5
