"""The capacitance of a cube, the vortex ring and the scan: what they check, in small, and their pictures."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from taskfmm.gallery import capacitance, ring, scan
from taskfmm.gallery.capacitance import Panels, corrections, of_rectangle


def test_integrals_over_rectangles():
    """Above, beside, and in the plane of a rectangle, against a rule of many points; at its middle the textbook's."""
    sizes = np.tile([0.3, 1.1], (4, 1))
    offsets = np.array([[0.2, 0.1, -0.4], [-0.05, 0.7, 0.3], [0.0, 0.4, 0.9], [0.0, 0.4, 0.0]])
    nodes, weights = np.polynomial.legendre.leggauss(200)
    u, v = 0.15 * nodes[:, None], 0.55 * nodes
    for offset, found in zip(offsets, of_rectangle(offsets, sizes), strict=True):
        r = np.sqrt(offset[0] ** 2 + (u - offset[1]) ** 2 + (v - offset[2]) ** 2)
        assert found == pytest.approx(weights @ (0.15 * 0.55 / r) @ weights, rel=1e-9)
    square = of_rectangle(np.zeros((1, 3)), np.ones((1, 2)))
    assert square == pytest.approx(4.0 * np.arcsinh(1.0))
    corner = of_rectangle(np.array([[0.0, 0.5, 0.5]]), np.ones((1, 2)))
    assert corner == pytest.approx(2.0 * np.arcsinh(1.0))


def test_panels_cover_the_cube_and_turn_with_their_faces():
    """What a panel does to others hangs on where it lies on its face alone."""
    panels = Panels.on_cube(6)
    assert panels.sizes.prod(axis=1).sum() == pytest.approx(6.0)
    assert np.allclose(panels.centres.mean(axis=0), 0.5)
    sums = corrections(panels).sum(axis=0).reshape(6, 36)
    assert np.allclose(sums, sums[0])


def test_three_digits_and_a_picture(tmp_path):
    pytest.importorskip("matplotlib").use("agg")
    picture = tmp_path / "cube.png"
    found = CliRunner().invoke(capacitance.main, ["-k", "16", "-o", str(picture)])
    assert found.exit_code == 0, found.output
    assert "0.660" in found.output
    assert picture.stat().st_size > 10_000
    few = CliRunner().invoke(capacitance.main, ["-k", "4", "-o", str(picture)])
    assert few.exit_code == 1
    assert "three digits" in few.output


def test_a_ring_starts_as_fast_as_kelvin_says():
    filaments = ring.ring()
    assert np.linalg.norm(ring.vorticity(filaments).reshape(filaments.shape), axis=2).sum() == pytest.approx(
        2.0 * np.pi, rel=1e-3
    )
    assert ring.impulse(filaments) == pytest.approx(np.pi * (1.0 + 0.25 * ring.CORE**2), rel=1e-3)
    velocity = ring.Flow(filaments, 1e-3)(filaments)
    # the pieces of filaments are as long as filaments are apart, which makes it slower by 0.45 %
    assert velocity[..., 2].mean() == pytest.approx(ring.kelvin(), rel=5e-3)


def test_a_ring_that_moves_and_one_that_is_too_slow(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib").use("agg")
    monkeypatch.setattr(ring, "STEPS", 2)
    picture = tmp_path / "ring.png"
    found = CliRunner().invoke(ring.main, ["-o", str(picture)])
    assert found.exit_code == 0, found.output
    assert picture.stat().st_size > 10_000
    for name, text in (("SPEED_WITHIN", "Kelvin's is"), ("IMPULSE_WITHIN", "impulse changed")):
        with monkeypatch.context() as patched:
            patched.setattr(ring, name, -1.0)
            worse = CliRunner().invoke(ring.main, ["-o", str(picture)])
            assert worse.exit_code == 1
            assert text in worse.output


def test_a_scan_is_a_closed_mesh_but_for_its_holes():
    found = scan.Scan.of_ring()
    edges = np.concatenate([found.triangles[:, (k, (k + 1) % 3)] for k in range(3)])
    there, back = ({tuple(edge) for edge in some.tolist()} for some in (edges, edges[:, ::-1]))
    assert len(there) == len(edges) and there == back
    assert 0.03 < found.missing.mean() < 0.05
    # of a tube without bumps, 2 pi^2 a^2, and half of the square of the bumps' mean
    assert found.volume == pytest.approx(
        2.0 * np.pi**2 * scan.TUBE**2 * (1.0 + scan.BUMPS**2 / 4.0), rel=5e-3
    )
    cut = scan.section(found.corners(~found.missing))
    np.testing.assert_allclose(scan.depth(np.pad(cut[:, 0], ((0, 0), (0, 1)))), 0.0, atol=5 * scan.NOISE)


def test_inside_and_outside_of_a_scan(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib").use("agg")
    monkeypatch.setattr(scan, "CELLS", 40)
    monkeypatch.setattr(scan, "VOLUME_WITHIN", 0.03)
    picture = tmp_path / "scan.png"
    found = CliRunner().invoke(scan.main, ["-o", str(picture), "--eps", "1e-3"])
    assert found.exit_code == 0, found.output
    assert picture.stat().st_size > 10_000
    monkeypatch.setattr(scan, "VOLUME_WITHIN", 0.0)
    worse = CliRunner().invoke(scan.main, ["-o", str(picture), "--eps", "1e-3"])
    assert worse.exit_code == 1 and "the volume is" in worse.output
