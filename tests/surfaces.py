"""Triangle meshes, and points around them."""

from __future__ import annotations

import numpy as np

import taskfmm
from taskfmm.interop import meshes

ROUNDING = 1e-13
"""Of sums over some thousand triangles, each to a few units in the last place."""


def sphere(level):
    """An octahedron whose faces are divided into 4^level triangles, counterclockwise as seen from outside."""
    corners = np.concatenate([np.eye(3), -np.eye(3)])
    signs = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    faces = np.array([[3 * a, 3 * b + 1, 3 * c + 2] for a, b, c in signs])
    faces[signs.sum(axis=1) % 2 == 1] = faces[signs.sum(axis=1) % 2 == 1][:, ::-1]
    found = corners[faces]
    for _ in range(level):
        a, b, c = np.moveaxis(found, 1, 0)
        ab, bc, ca = (p + q for p, q in ((a, b), (b, c), (c, a)))
        found = np.concatenate(
            [np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
        )
        found /= np.linalg.norm(found, axis=2, keepdims=True)
    vertices, rows = np.unique(found.reshape(-1, 3).round(12), axis=0, return_inverse=True)
    return vertices, rows.reshape(-1, 3)


def soup(n, decades, width=1.0, seed=11):
    """Triangles anywhere, with sizes over some powers of ten below 1."""
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** (-decades * rng.random(n))
    vertices = width * rng.random((n, 1, 3)) + sizes[:, None, None] * rng.normal(size=(n, 3, 3))
    return vertices.reshape(-1, 3), np.arange(3 * n).reshape(-1, 3)


def joined(*parts):
    first = np.cumsum([0, *(len(vertices) for vertices, _ in parts)])
    rows = [rows + before for (_, rows), before in zip(parts, first, strict=False)]
    return np.concatenate([vertices for vertices, _ in parts]), np.concatenate(rows)


def around(mesh, n, seed=5):
    """Points on triangles, beside them at all distances, at corners and centres, on lines of edges, and in a box."""
    vertices, rows = mesh
    rng = np.random.default_rng(seed)
    of = rows[rng.integers(len(rows), size=n)]
    corners = vertices[of]
    size = np.linalg.norm(corners - corners.mean(axis=1, keepdims=True), axis=2).max(axis=1)[:, None]
    on = np.einsum("nb,nbi->ni", rng.dirichlet([1, 1, 1], n), corners)
    beside = on + size * rng.normal(size=(n, 3)) * 10 ** rng.uniform(-8, 1, (n, 1))
    a, b, c = np.moveaxis(corners, 1, 0)
    along = a + (b - a) * rng.uniform(-3, 4, (n, 1))
    in_plane = a + (b - a) * rng.uniform(-3, 4, (n, 1)) + (c - a) * rng.uniform(-3, 4, (n, 1))
    low, wide = vertices.min(axis=0), np.ptp(vertices, axis=0)
    box = low - 0.5 * wide + 2.0 * wide * rng.random((n, 3))
    return np.concatenate([on, beside, a, corners.mean(axis=1), along, in_plane, box, 1e4 * wide * box])


def expand(monkeypatch):
    """Expansions are used wherever there is something to expand, in trees."""
    for name in ("PLAN", "SOURCE", "POINT", "CORRECTION"):
        monkeypatch.setattr(meshes, name, 0.0)
    made = taskfmm.Fmm
    monkeypatch.setattr(taskfmm, "Fmm", lambda *points, **how: made(*points, **how | {"leaf_size": 60}))
