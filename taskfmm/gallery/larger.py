"""Two million masses that no process ever holds, from a file, through two workers with little memory.

``python -m taskfmm.gallery.larger`` writes points and masses of a sphere of Plummer into an HDF5 file, chunk by
chunk. Two workers of a `LocalCluster`, with 512 MiB each, plan for them and evaluate: `taskfmm.dataset` leads to the
file, and `taskfmm.Fmm.from_dask` plans in tasks. To plan in one process takes some 300 bytes a point, which is more
than that. This process, with the scheduler in it, has to grow by less than points, masses and potentials take, and no
worker may exceed its limit; the short processes that read a chunk are not counted. The potential energy has to be
that of the sphere, and some potentials those of the sum over all pairs. With Matplotlib there, a picture of
potentials and memory is saved.

The potential of the sphere is 1 / (4 pi sqrt(r^2 + 1)) and its energy 3 pi / 32 / (4 pi), in the units of the masses
together and the scale length: Plummer, Mon. Not. R. Astron. Soc. 71 (1911) 460.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import dask
import dask.array as da
import numpy as np
import psutil
from distributed import Client, LocalCluster

import taskfmm
from taskfmm.gallery.example import Draw, example, expect

POINTS, CHUNKS = 2_000_000, 4

LIMIT = 512 * 2**20
"""Bytes of each worker, of which a process of Python with this library takes 220 MiB."""

SAMPLE, PAIRS = 4_000, 40
"""Potentials that are looked at; those of them that are summed over all pairs."""

GROWTH_WITHIN = 1.0
"""By how much this process may grow: relative to the bytes of points, masses and potentials."""

ENERGY_WITHIN = 0.01
"""Relative. The energy of so many random points of the sphere is that of the sphere to 0.1 per cent."""


class Memory:
    """The most bytes that processes have held, looked at every 20 ms while this is open."""

    def __init__(self, pids: list[int]) -> None:
        self.processes = [psutil.Process(pid) for pid in pids]
        self.first = [process.memory_info().rss for process in self.processes]
        self.most = list(self.first)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._done.wait(0.02):
            for number, process in enumerate(self.processes):
                try:
                    self.most[number] = max(self.most[number], process.memory_info().rss)
                except psutil.NoSuchProcess:
                    return

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def plummer(number: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A chunk of the sphere: points [size, 3] and masses [size]."""
    rng = np.random.default_rng([1911, number])
    vectors = rng.normal(size=(size, 3))
    r = 1.0 / np.sqrt(rng.random(size) ** (-2.0 / 3.0) - 1.0)
    points = vectors * (r / np.linalg.norm(vectors, axis=1))[:, None]
    return points, rng.uniform(0.5, 1.5, size) / (size * CHUNKS)


def write(path: Path) -> None:
    """Points and masses into an HDF5 file, chunk by chunk."""
    size = POINTS // CHUNKS
    made = [dask.delayed(plummer, nout=2)(number, size) for number in range(CHUNKS)]
    points = da.concatenate([da.from_delayed(points, (size, 3), np.float64) for points, _ in made])
    masses = da.concatenate([da.from_delayed(masses, (size,), np.float64) for _, masses in made])
    da.to_hdf5(str(path), {"points": points, "masses": masses})


def read(path: Path) -> tuple[da.Array, da.Array]:
    """The same, lazily."""
    points, masses = (taskfmm.dataset(path, name, POINTS // CHUNKS) for name in ("points", "masses"))
    return points, masses


def summed(path: Path, targets: np.ndarray) -> np.ndarray:
    """The potentials [m] at targets [m, 3] by all pairs, chunk by chunk."""
    chunks = [each.to_delayed().ravel() for each in read(path)]
    sums = [dask.delayed(taskfmm.direct)(*chunk, targets) for chunk in zip(*chunks, strict=True)]
    return np.sum(dask.compute(*sums), axis=0)


@dataclass(frozen=True, slots=True)
class Found:
    """potentials : float64 [SAMPLE], at points, float64 [SAMPLE, 3]; mass, energy : of all

    growth : bytes of this process; workers : the most bytes of each; planned, evaluated : seconds
    """

    potentials: np.ndarray
    points: np.ndarray
    mass: float
    energy: float
    growth: int
    workers: list[int]
    planned: float
    evaluated: float


def run(path: Path, eps: float) -> Found:
    """What two workers find of the file."""
    taskfmm.Fmm.from_dask(da.random.random((20_000, 3)), eps=eps)  # loads what any plan takes
    rows = np.linspace(0, POINTS // CHUNKS * CHUNKS - 1, SAMPLE).astype(np.int64)
    few: dict[str, Any] = dict(n_workers=2, threads_per_worker=1, memory_limit=LIMIT)
    quiet: dict[str, Any] = dict(dashboard_address=":0", silence_logs=logging.ERROR)
    with LocalCluster(**few, **quiet) as cluster, Client(cluster) as client:
        pids = [os.getpid(), *client.run(os.getpid).values()]
        with Memory(pids) as memory:
            started = time.perf_counter()
            points, masses = read(path)
            plan = taskfmm.Fmm.from_dask(points, eps=eps)
            planned = time.perf_counter()
            phi = plan.potential(masses)
            wanted = phi[rows], points[rows], masses.sum(), 0.5 * (masses * phi).sum()
            potentials, places, mass, energy = dask.compute(*wanted)
            took = planned - started, time.perf_counter() - planned
    own, *workers = memory.most
    return Found(potentials, places, mass, energy, own - memory.first[0], workers, *took)


def check(found: Found, exact: np.ndarray, eps: float) -> str:
    """What was right, as text, beside some sums over all pairs; raises CheckError where it was not."""
    data = 5 * 8 * POINTS
    error = np.linalg.norm(found.potentials[: len(exact)] - exact) / np.linalg.norm(exact)
    energy = 4.0 * np.pi * found.energy / (3.0 * np.pi / 32.0 * found.mass**2)
    most = max(found.workers)
    expect(error <= eps, f"potentials differ from sums over all pairs by {error:.1e}, and eps is {eps:g}")
    expect(abs(energy - 1.0) <= ENERGY_WITHIN, f"the energy is {energy:.4f} times that of the sphere")
    expect(most <= LIMIT, f"a worker took {most / 2**20:.0f} MiB, and its limit is {LIMIT / 2**20:.0f} MiB")
    expect(
        found.growth <= GROWTH_WITHIN * data,
        f"this process grew by {found.growth / 2**20:.0f} MiB, and the data are {data / 2**20:.0f} MiB",
    )
    return (
        f"relative l2 error   {error:.1e}   (at {len(exact)} points, eps {eps:g})\n"
        f"energy              {energy:.4f} times that of the sphere\n"
        f"this process        grew by {found.growth / 2**20:.0f} MiB; the data are {data / 2**20:.0f} MiB\n"
        f"workers             {most / 2**20:.0f} MiB at most, of {LIMIT / 2**20:.0f} MiB"
    )


def draw(found: Found) -> Any:
    """A Matplotlib figure: potentials by their distance from the middle, and what took memory."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    r = np.linalg.norm(found.points, axis=1)
    line = np.geomspace(r.min(), r.max(), 200)
    left.loglog(r, 4.0 * np.pi * found.potentials, ".", markersize=2, label=f"{len(r)} of the points")
    left.loglog(line, 1.0 / np.hypot(1.0, line), "--", color="black", label="sphere of Plummer")
    left.set(xlabel="distance from the middle (a)", ylabel="potential (G M / a)")
    left.set_title(f"{POINTS:,} masses in a file")
    left.legend()
    bars = {"points, masses, potentials": POINTS * 5 * 8, "this process: growth": found.growth}
    bars |= {f"worker {number}: peak": most for number, most in enumerate(found.workers, 1)}
    right.barh(list(bars), [each / 2**20 for each in bars.values()], color=["tab:gray", *3 * ["tab:blue"]])
    right.axvline(LIMIT / 2**20, color="tab:red", linestyle="--", label="limit of a worker")
    right.invert_yaxis()
    right.set(xlabel="memory (MiB)", title="Memory")
    right.legend()
    return figure


@example("larger.png", 1e-3, "Relative l2 error of potentials.")
def main(eps: float) -> Draw:
    """Two million masses from a file that no process ever holds, checked and drawn."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "masses.h5")
        write(path)
        found = run(path, eps)
        exact = summed(path, found.points[:PAIRS])
    click.echo(f"points              {POINTS} in {CHUNKS} chunks")
    click.echo(f"plan                {found.planned:8.2f} s")
    click.echo(f"evaluation          {found.evaluated:8.2f} s")
    click.echo(check(found, exact, eps))
    return lambda: draw(found)


if __name__ == "__main__":
    main()
