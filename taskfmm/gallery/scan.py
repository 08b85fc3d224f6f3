"""What is inside of a scanned thing: winding numbers of a mesh with noise and holes.

``python -m taskfmm.gallery.scan`` makes a bumpy ring of 24,576 triangles, as a scanner would see it: places are
noisy, and patches are missing. Its generalised winding number is 1 deep inside and 0 outside, and between both across
a hole, so the thing ends where it is 1/2 (Jacobson et al., ACM Trans. Graph. 32 (2013) 33). Four facts are checked:

- before anything is missing, it is 1 or 0, as the formula of the ring has it;
- it is that of the whole mesh less that of the patches, since both are sums over triangles;
- at the distance d from patches of the area A it changes by A / (4 pi d^2) at most;
- the volume where it is more than 1/2 is what the divergence theorem makes of the whole mesh.

With Matplotlib there, a picture of a section is saved. The unit of length is the radius of the ring.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click
import numpy as np
from scipy.spatial import cKDTree

from taskfmm.gallery.example import Draw, example, expect, timed
from taskfmm.interop.meshes import Surface

AROUND, ACROSS = 192, 64
"""Quadrilaterals along the ring, and around its tube; each has two triangles."""

TUBE, BUMPS = 0.35, 0.12
"""Radius of the tube, and the part of it by which it varies."""

NOISE = 0.003
"""Standard deviation of places."""

HOLES = np.array(
    [[1.35, 0.0, 0.0, 0.22], [-0.7, 1.15, 0.0, 0.26], [-0.3, -0.6, 0.0, 0.16], [0.3, -1.0, 0.35, 0.2]]
)
"""Centres and radii of balls in which the scanner saw nothing."""

CELLS = 100
"""Of the grid on which the volume is counted, along the ring's diameter."""

CLEAR = 0.02
"""Points closer to the surface than this are not compared with the formula, because of noise and flat triangles."""

VOLUME_WITHIN = 0.01
"""Relative. Across holes the surface of 1/2 is not where the missing one was."""


def radius(along: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Of the tube, at two angles: along the ring, and around the tube."""
    return TUBE * (1.0 + BUMPS * np.cos(5.0 * along) * np.cos(3.0 * around))


def depth(points: np.ndarray) -> np.ndarray:
    """How far points [n, 3] are below the surface along a radius of the tube, by the formula; negative outside."""
    x, y, z = points.T
    across = np.hypot(x, y) - 1.0
    return radius(np.arctan2(y, x), np.arctan2(z, across)) - np.hypot(across, z)


@dataclass(frozen=True, slots=True)
class Scan:
    """A mesh and what is missing of it.

    vertices : float64 [n, 3]
    triangles : int64 [m, 3], of the whole mesh, counterclockwise as seen from outside
    missing : bool [m]
    """

    vertices: np.ndarray
    triangles: np.ndarray
    missing: np.ndarray

    @classmethod
    def of_ring(cls, n: int = AROUND, m: int = ACROSS, seed: int = 7) -> Scan:
        """The bumpy ring, of 2 n m triangles."""
        i, j = (each.ravel() for each in np.indices((n, m)))
        along, around = 2.0 * np.pi * i / n, 2.0 * np.pi * j / m
        tube = radius(along, around)
        out = 1.0 + tube * np.cos(around)
        vertices = np.stack([out * np.cos(along), out * np.sin(along), tube * np.sin(around)], axis=1)
        vertices += NOISE * np.random.default_rng(seed).normal(size=vertices.shape)
        here, right = i * m + j, (i + 1) % n * m + j
        up, both = i * m + (j + 1) % m, (i + 1) % n * m + (j + 1) % m
        triangles = np.concatenate([np.stack(t, axis=1) for t in ((here, right, both), (here, both, up))])
        centres = vertices[triangles].mean(axis=1)
        apart = np.linalg.norm(centres[:, None] - HOLES[:, :3], axis=2)
        return cls(vertices, triangles, (apart < HOLES[:, 3]).any(axis=1))

    def surface(self, some: np.ndarray, eps: float) -> Surface:
        """Some of the triangles."""
        return Surface(self.vertices, self.triangles[some], eps)

    def corners(self, some: np.ndarray) -> np.ndarray:
        """Of some triangles, float64 [n, 3, 3]."""
        return self.vertices[self.triangles[some]]

    @property
    def volume(self) -> float:
        """Of the whole mesh: a third of the integral of x . n, each triangle's being that of a tetrahedron."""
        a, b, c = np.moveaxis(self.corners(np.ones(len(self.missing), bool)), 1, 0)
        return float((a * np.cross(b, c)).sum()) / 6.0


def grid() -> tuple[np.ndarray, float]:
    """The middles of cells around the ring, float64 [n, 3], and the volume of each."""
    width = 3.0 / CELLS
    flat = np.arange(-1.5 + 0.5 * width, 1.5, width)
    high = np.arange(-0.45 + 0.5 * width, 0.45, width)
    return np.stack(np.meshgrid(flat, flat, high, indexing="ij"), axis=-1).reshape(-1, 3), width**3


def check(scan: Scan, eps: float) -> str:
    """What the winding numbers are, as text; raises CheckError where that is not what they have to be."""
    points, of_cell = grid()
    every = np.ones(len(scan.missing), bool)
    whole, seen, patches = (
        scan.surface(some, eps).winding_number(points) for some in (every, ~scan.missing, scan.missing)
    )
    below = depth(points)
    clear = np.abs(below) > CLEAR
    wrong = np.abs(whole - (below > 0.0))[clear].max()
    expect(wrong <= eps, f"the whole mesh has winding numbers that differ from 0 and 1 by {wrong:.1e}")
    differ = np.abs(whole - patches - seen).max()
    expect(differ <= 3.0 * eps, f"the parts of the mesh do not add up to the whole, by {differ:.1e}")
    corners = scan.corners(scan.missing)
    area = 0.5 * np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    centres = corners.mean(axis=1)
    size = np.linalg.norm(corners - centres[:, None], axis=2).max()
    d = np.maximum(cKDTree(centres).query(points)[0] - size, 1e-9)
    excess = (np.abs(seen - whole) - area.sum() / (4.0 * np.pi * d**2)).max()
    expect(excess <= 2.0 * eps, f"holes are felt by {excess:.1e} more than their solid angle")
    volume = of_cell * np.count_nonzero(seen > 0.5)
    error = volume / scan.volume - 1.0
    expect(abs(error) <= VOLUME_WITHIN, f"the volume is {volume:.4f}, not {scan.volume:.4f}")
    agree = np.mean((seen > 0.5) == (below > 0.0))
    return (
        f"whole mesh          0 or 1 to {wrong:.1e}\n"
        f"parts of it         add up to {differ:.1e}\n"
        f"inside or outside   right at {agree:.3%} of {len(points)} points, in spite of the holes\n"
        f"volume              {volume:.4f}   (divergence theorem: {scan.volume:.4f}, {error:+.2%})"
    )


def section(corners: np.ndarray) -> np.ndarray:
    """Where triangles [n, 3, 3] cut the plane z = 0: the ends of segments, float64 [k, 2, 2]."""
    cut = np.ptp(np.sign(corners[:, :, 2]), axis=1) == 2.0
    corners = corners[cut]
    after = np.roll(corners, -1, axis=1)
    z, to = corners[:, :, 2], after[:, :, 2]
    crossing = np.sign(z) * np.sign(to) < 0.0
    share = np.divide(z, z - to, out=np.zeros_like(z), where=crossing)[:, :, None]
    places = (corners + share * (after - corners))[:, :, :2]
    return places[crossing].reshape(-1, 2, 2)


def draw(scan: Scan, eps: float) -> Any:
    """A Matplotlib figure of the winding number in the plane through the ring."""
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    axis = np.linspace(-1.6, 1.6, 481)
    x, y = np.meshgrid(axis, axis)
    points = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
    values = scan.surface(~scan.missing, eps).winding_number(points).reshape(x.shape)
    figure = Figure(figsize=(6.6, 5.6), layout="constrained")
    axes = figure.subplots()
    image = axes.pcolormesh(x, y, values, cmap="viridis", vmin=0.0, vmax=1.0, shading="gouraud")
    axes.contour(x, y, values, levels=[0.5], colors="tab:red", linewidths=1.2)
    axes.add_collection(
        LineCollection(list(section(scan.corners(~scan.missing))), colors="white", linewidths=1.6)
    )
    axes.set(
        xlabel="x (radius of the ring)",
        ylabel="y",
        aspect="equal",
        title="Inside and outside of a scan with holes",
    )
    bar = figure.colorbar(image, ax=axes, shrink=0.9)
    bar.set_label("winding number (white: triangles, red: 1/2)")
    return figure


@example("scan.png", 1e-4, "Error of winding numbers.")
def main(eps: float) -> Draw:
    """Inside and outside of a scan with holes, checked and drawn."""
    with timed():
        scan = Scan.of_ring()
        click.echo(f"triangles           {len(scan.missing)}, of which {scan.missing.mean():.1%} are missing")
        click.echo(check(scan, eps))
    return lambda: draw(scan, eps)


if __name__ == "__main__":
    main()
