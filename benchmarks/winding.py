"""Winding numbers of a triangle mesh beside libigl's: all triangles, and its fast form.

``python -m benchmarks.winding`` takes the ring of `taskfmm.gallery.scan` with 20,480 triangles, or, with ``--mesh
soup``, these in any places and directions, and 40,000 points. It prints CPU seconds on one thread with planning, the
median of some calls taken in turns, and the largest error at a sample of the points, against the sum over all
triangles. "again" is a `taskfmm.interop.meshes.Surface` that is kept, at other points. libigl is left out where it is
not installed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from statistics import median

import click
import dask
import numpy as np

from benchmarks.moved import seconds
from taskfmm.gallery.scan import Scan
from taskfmm.interop.meshes import Surface, winding_number

SAMPLE = 2000
"""Points at which errors are taken."""


def points_of(scan: Scan, where: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Random ones in the box of the mesh, or beside its triangles, up to their size away."""
    corners = scan.vertices[scan.triangles]
    if where == "box":
        low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
        return low + (high - low) * rng.random((n, 3))
    some = corners[rng.integers(len(corners), size=n)]
    on = np.einsum("nb,nbi->ni", rng.dirichlet([1.0, 1.0, 1.0], n), some)
    return on + np.ptp(some, axis=1).mean() * rng.uniform(-1.0, 1.0, (n, 3))


def soup(scan: Scan, rng: np.random.Generator) -> Scan:
    """The same triangles anywhere in the box of the mesh, turned in any directions."""
    corners = scan.vertices[scan.triangles]
    turns = np.linalg.qr(rng.normal(size=(len(corners), 3, 3)))[0]
    turned = np.einsum("nij,nkj->nki", turns, corners - corners.mean(axis=1, keepdims=True))
    places = points_of(scan, "box", len(corners), rng)
    rows = np.arange(3 * len(corners)).reshape(-1, 3)
    return Scan((places[:, None] + turned).reshape(-1, 3), rows, scan.missing)


def codes(scan: Scan) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """From points to winding numbers, by name; the last one of ours keeps its plan."""
    mesh = scan.vertices, scan.triangles
    found: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    if find_spec("igl"):
        import igl

        found["libigl, all"] = lambda points: igl.winding_number(*mesh, points)
        found["libigl, fast"] = lambda points: igl.fast_winding_number(*mesh, points)
    found["taskfmm, all"] = partial(winding_number, *mesh, eps=0.0)
    for eps in (1e-3, 1e-6):
        found[f"taskfmm, {eps:g}"] = partial(winding_number, *mesh, eps=eps)
        found[f"taskfmm, {eps:g}, again"] = Surface(*mesh, eps).winding_number
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--triangles", type=click.IntRange(min=200), default=20_480, help="About so many.")
@click.option("--mesh", type=click.Choice(["ring", "soup"]), default="ring")
@click.option("-n", "n", type=click.IntRange(min=1), default=40_000, help="Points.")
@click.option("--points", "where", type=click.Choice(["box", "near"]), default="box")
@click.option("--repeats", type=click.IntRange(min=1), default=3)
def main(triangles: int, mesh: str, n: int, where: str, repeats: int) -> None:
    """Seconds and errors of winding numbers, beside libigl."""
    across = round((triangles / 5.0) ** 0.5)
    scan, rng = Scan.of_ring(round(triangles / 2.0 / across), across), np.random.default_rng(3)
    scan = soup(scan, rng) if mesh == "soup" else scan
    taken: dict[str, list[float]] = {}
    errors: dict[str, float] = {}
    with dask.config.set(scheduler="synchronous", **{"taskfmm.numba-threads": 1}):
        all_codes = codes(scan)
        for run in all_codes.values():
            run(points_of(scan, where, n, rng))
        for _ in range(repeats):
            points = points_of(scan, where, n, rng)
            some = rng.choice(n, min(n, SAMPLE), replace=False)
            exact = winding_number(scan.vertices, scan.triangles, points[some], 0.0)
            for name, run in all_codes.items():
                took, values = seconds(run, points)
                taken.setdefault(name, []).append(took)
                errors[name] = max(errors.get(name, 0.0), float(np.abs(values[some] - exact).max()))
    print(f"{mesh}, {len(scan.triangles)} triangles, {n} points: {where}; CPU seconds, largest error")
    for name, times in taken.items():
        print(f"{name:24s} {median(times):8.2f} {errors[name]:9.1e}")


if __name__ == "__main__":
    main()
