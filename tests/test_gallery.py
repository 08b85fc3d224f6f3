"""What the examples of the gallery check, in small, and their pictures."""

from __future__ import annotations

import ast
import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from distributed import LocalCluster

import taskfmm
from taskfmm.gallery import (
    capacitance,
    example,
    galaxies,
    larger,
    own_kernel,
    protein,
    ring,
    scan,
    sediment,
    vectors,
)
from taskfmm.gallery.capacitance import Panels, corrections, of_rectangle

SMALL = {
    "ring": (ring, {"STEPS": 2}, {"SPEED_WITHIN": "Kelvin's is", "IMPULSE_WITHIN": "impulse changed"}),
    "galaxies": (
        galaxies,
        {"DARK": 300, "STARS": 200, "STEPS": 2, "SHOWN": (0, 1, 2)},
        {"ENERGY_WITHIN": "the energy changed", "MOMENTUM_WITHIN": "the momentum changed"},
    ),
    "sediment": (
        sediment,
        {"PARTICLES": 3000, "STEPS": 2, "SHOWN": (0, 1, 2), "PIXELS": 21},
        {"SPEED_WITHIN": "the cloud sinks with", "VORTEX_WITHIN": "of the vortex of a drop"},
    ),
    "own_kernel": (  # so few places are a direct sum, which is exact
        own_kernel,
        {"PLACES": 800, "OTHERS": 200, "PIXELS": 21, "ERROR_WITHIN": 0.05},
        {"MISFIT_WITHIN": "measured values are missed", "ERROR_WITHIN": "between the places"},
    ),
    "vectors": (
        vectors,
        {"POINTS": 300},
        {"SYMMETRIC_WITHIN": "not symmetric", "MAXWELL_WITHIN": "differs from Maxwell's"},
    ),
    "scan": (scan, {"CELLS": 40, "VOLUME_WITHIN": 0.03}, {"VOLUME_WITHIN": "the volume is"}),
    "larger": (  # on workers in this process, which may hold much of other tests, so that memory is not bounded
        larger,
        {"POINTS": 20_000, "CHUNKS": 2, "SAMPLE": 100, "ENERGY_WITHIN": 0.05, "LIMIT": 2**40}
        | {"GROWTH_WITHIN": np.inf, "LocalCluster": partial(LocalCluster, processes=False)},
        {},
    ),
}
"""Of an example: what makes it small, and the sentence that it ends with where a bound is not kept."""


def command(module, picture, *options):
    """Run an example: the result, with its exit code and what it printed."""
    pytest.importorskip("matplotlib").use("agg")
    return CliRunner().invoke(module.main, ["-o", str(picture), *options])


@pytest.mark.parametrize("name", SMALL)
def test_a_small_one_is_drawn_and_a_wrong_one_refused(name, tmp_path, monkeypatch):
    module, values, bounds = SMALL[name]
    for each, value in values.items():
        monkeypatch.setattr(module, each, value)
    picture, options = tmp_path / "picture.png", ["--eps", "1e-3"] if module is scan else []
    found = command(module, picture, *options)
    assert found.exit_code == 0, found.output
    assert picture.stat().st_size > 10_000
    picture.unlink()
    for bound, text in bounds.items():
        with monkeypatch.context() as patched:
            patched.setattr(module, bound, -1.0)
            worse = command(module, picture, *options)
            assert worse.exit_code == 1
            assert text in worse.output
            assert not picture.exists()


def test_nothing_is_checked_by_assert():
    """``python -O`` leaves these statements out."""
    for path in Path(example.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text())
        assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree)), path


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
    picture = tmp_path / "cube.png"
    found = command(capacitance, picture, "-k", "16")
    assert found.exit_code == 0, found.output
    assert "0.660" in found.output
    assert picture.stat().st_size > 10_000
    few = command(capacitance, picture, "-k", "4")
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


def test_a_galaxy_is_in_equilibrium_and_a_pair_is_at_rest():
    """Energies of a Plummer sphere: 3 pi / 64 of motion, and 3 pi / 32 of attraction but for the part that is cut."""
    positions, velocities = galaxies.galaxy(0.5, np.random.default_rng(5))
    kinetic = 0.5 * (velocities[: galaxies.DARK] ** 2).sum(axis=1).mean()
    assert kinetic == pytest.approx(3.0 * np.pi / 64.0, rel=0.05)
    r, v = positions[galaxies.DARK :], velocities[galaxies.DARK :]
    radius = np.linalg.norm(r, axis=1)
    pull = radius**2 / (1.0 + radius**2) ** 1.5
    assert np.allclose((v**2).sum(axis=1), pull, atol=0.02)
    assert abs(np.cross(r, v)[:, 1]).mean() < 0.05  # tilted about y
    positions, velocities, masses = galaxies.pair(np.random.default_rng(5))
    assert np.allclose(masses @ velocities, 0.0, atol=1e-12)
    assert masses.sum() == pytest.approx(2.0 * (1.0 + galaxies.DISC))


def test_a_cloud_sinks_and_turns_as_a_drop_does():
    """By the direct sum, 5 pi for its drag and the vortex of Hill, which is at rest on the surface's poles alone."""
    particles = sediment.cloud(8000, np.random.default_rng(4))
    forces = sediment.weights(8000)
    stokes = taskfmm.kernels.Stokes(viscosity=1.0)
    middle = taskfmm.direct(
        particles, targets=np.zeros((1, 3)), kernel=stokes, outputs="velocity", forces=forces
    )
    assert middle["velocity"][0, 2] == pytest.approx(-1.25, rel=0.03)
    flow = taskfmm.direct(
        particles, targets=particles[:2000], kernel=stokes, outputs="velocity", forces=forces
    )
    assert flow["velocity"][:, 2].mean() == pytest.approx(-1.0, rel=0.02)
    poles = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    assert np.allclose(sediment.hill(poles), [[0, 0, 0], [0, 0, 0], [0, 0, 0.25]])


def test_an_interpolation_is_the_sum_of_its_kernels():
    places = np.random.default_rng(6).random((50, 3))
    found = own_kernel.solve(places, own_kernel.field(places), 1e-4)
    r = np.linalg.norm(places[:, None] - places, axis=2)
    matrix = 1.0 / np.sqrt(r**2 + (own_kernel.WIDTH * 50 ** (-1.0 / 3.0)) ** 2)
    assert np.allclose(matrix @ found.weights, own_kernel.field(places), rtol=1e-3)
    assert np.allclose(found.exact(places), matrix @ found.weights)


def test_maxwells_series():
    """Spheres far apart, and two equal ones by images that are put in one after the other."""
    far = vectors.maxwell(1.0, 0.5, 100.0)
    assert np.allclose(far, [[1.0 + 0.5 / 1e4, -0.5 / 100], [-0.5 / 100, 0.5 + 0.25 / 1e4]], atol=1e-6)
    charges, place, totals = 1.0, 0.0, [0.0, 0.0]
    for number in range(
        40
    ):  # place: how far the image is from the middle of its sphere, towards the other one
        totals[number % 2] += charges
        charges, place = -charges / (2.5 - place), 1.0 / (2.5 - place)
    assert np.allclose(vectors.maxwell(1.0, 1.0, 2.5), [totals, totals[::-1]])


def test_one_sphere_has_its_radius_as_capacitance(monkeypatch):
    monkeypatch.setattr(vectors, "POINTS", 200)
    found = vectors.solve(vectors.Spheres.around(np.zeros((1, 3)), np.array([0.3])), 1e-6)
    assert found.matrix[0, 0] == pytest.approx(0.3, rel=1e-6)
    assert np.allclose(found.charges, 0.3 / 200, rtol=1e-5)


def test_what_is_not_right_of_masses_in_a_file(tmp_path, monkeypatch):
    for name, value in {"POINTS": 4000, "CHUNKS": 2, "ENERGY_WITHIN": 0.1}.items():
        monkeypatch.setattr(larger, name, value)
    larger.write(tmp_path / "masses.h5")
    points, masses = (array.compute() for array in larger.read(tmp_path / "masses.h5"))
    assert np.array_equal(points[2000:], larger.plummer(1, 2000)[0])
    potentials, exact = taskfmm.direct(points, masses), larger.summed(tmp_path / "masses.h5", points[:20])
    right = larger.Found(potentials, points, masses.sum(), 0.5 * masses @ potentials, 10, [20, 30], 0.0, 0.0)
    assert "energy" in larger.check(right, exact, 1e-3)
    for wrong, text in (
        (replace(right, potentials=1.01 * potentials), "potentials differ"),
        (replace(right, energy=1.2 * right.energy), "the energy is"),
        (replace(right, workers=[20, larger.LIMIT + 1]), "a worker took"),
        (replace(right, growth=4000 * 40 + 1), "this process grew"),
    ):
        with pytest.raises(example.CheckError, match=text):
            larger.check(wrong, exact, 1e-3)


def test_solvers_that_do_not_converge(monkeypatch):
    """It is an error, not a solution that is none."""
    places = np.random.default_rng(6).random((50, 3))
    monkeypatch.setattr(own_kernel, "TOLERANCE", 0.0)
    with pytest.raises(example.CheckError, match="GMRES has not converged"):
        own_kernel.solve(places, own_kernel.field(places), 1e-4)
    monkeypatch.setattr(vectors, "ITERATIONS", 1)
    monkeypatch.setattr(vectors, "POINTS", 20)
    with pytest.raises(example.CheckError, match="conjugate gradients have not converged"):
        vectors.solve(vectors.Spheres.around(*vectors.TWO), 1e-6)


def test_memory_is_looked_at():
    with larger.Memory([os.getpid()]) as memory:
        held = np.ones(2**24)
        time.sleep(0.1)
    assert memory.most[0] - memory.first[0] >= 0.9 * held.nbytes


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    path = tmp_path / "none.png"
    example.picture(lambda: pytest.fail("drawn without Matplotlib"), path)
    assert not path.exists()


def test_charges_of_a_protein_are_volts():
    """An ion of sodium has the largest, e: at an angstrom it makes 14.4 volts, times 4 pi here."""
    pytest.importorskip("MDAnalysisTests.datafiles")
    solution = protein.load()
    assert solution.charges.max() == pytest.approx(4.0 * np.pi * 14.399645, rel=1e-6)
    assert abs(solution.charges.sum()) < 1e-6
    assert solution.is_protein.sum() == 918


def test_a_protein_without_its_files(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "MDAnalysis", None)
    found = command(protein, tmp_path / "protein.png")
    assert found.exit_code == 1
    assert "MDAnalysis is missing: pip install" in found.output


def test_a_picture_is_what_its_name_says(tmp_path):
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(1.0, 1.0))
    for name, written, start in (
        ("a", "a.png", b"\x89PNG"),
        ("b.png", "b.png", b"\x89PNG"),
        ("c.pdf", "c.pdf", b"%PDF"),
    ):
        example.picture(lambda: figure, tmp_path / name)
        assert (tmp_path / written).read_bytes().startswith(start)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "c.pdf"]
    with pytest.importorskip("PIL.Image").open(tmp_path / "a.png") as saved:
        assert saved.mode == "P", "not of few colours"


def test_errors_of_the_library_end_an_example(tmp_path):
    """In one sentence: an eps that cannot be reached, and a picture that cannot be written."""
    found = command(capacitance, tmp_path / "cube.png", "-k", "4", "--eps", "1e-30")
    assert found.exit_code == 1 and "Error: eps" in found.output
    found = command(capacitance, tmp_path / "none" / "cube.png", "-k", "16")
    assert found.exit_code == 1 and "cube.png: the picture cannot be written" in found.output


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
