"""Potentials, fields and energies along trajectories of MDAnalysis, beside sums over all pairs and images."""

from __future__ import annotations

import doctest
import importlib
import warnings

import numpy as np
import pytest
from boxes import l2_error
from ewald import three
from scipy import constants

import taskfmm
from taskfmm import InputError

MDAnalysis = pytest.importorskip("MDAnalysis")

from taskfmm.interop.mdanalysis import UNITS, Electrostatics  # noqa: E402

N, FRAMES = 60, 4
RNG = np.random.default_rng(35)
PLACES = RNG.random((FRAMES, N, 3))
CHARGES = np.round(RNG.uniform(-1, 1, N), 3)
CHARGES[-1] -= CHARGES.sum()
KJ, VOLT = UNITS["kJ/mol"], UNITS["V"]


def universe(boxes=None, charges=CHARGES, places=PLACES):
    """Atoms in memory; boxes : of each frame, or one of all. Places are in units of its sides, or else of 20."""
    found = MDAnalysis.Universe.empty(len(charges), trajectory=True)
    found.add_TopologyAttr("charges", charges)
    boxes = None if boxes is None else np.broadcast_to(boxes, (len(places), 6)).astype(np.float32)
    widths = np.full((len(places), 3), 20.0) if boxes is None else np.where(boxes > 0.0, boxes, 20.0)[:, :3]
    found.load_new((places * widths[:, None]).astype(np.float32), dimensions=boxes, dt=2.0)
    return found


def cube(side):
    return [side, side, side, 90.0, 90.0, 90.0]


@pytest.mark.parametrize("shape", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0)])
def test_ewalds_sum_in_a_box_that_breathes(shape, monkeypatch):
    """Sides as they are in single precision, one plan for all frames."""
    made, fmm = [], taskfmm.Fmm
    monkeypatch.setattr(
        taskfmm, "Fmm", lambda *args, **options: made.append(options) or fmm(*args, **options)
    )
    sides = np.array([7.1, 7.3, 6.9, 8.45])[:, None] * np.array(shape)
    atoms = universe(np.concatenate([sides, np.full((FRAMES, 3), 90.0)], axis=1)).atoms
    found = Electrostatics(atoms, periodic=True).run(start=1)
    assert len(made) == 1
    assert found.times.tolist() == [2.0, 4.0, 6.0] and found.frames.tolist() == [1, 2, 3]
    assert found.results.potential.shape == (3, N) and found.results.field.shape == (3, N, 3)
    for i, ts in enumerate(atoms.universe.trajectory[1:]):
        x, box = ts.positions.astype(np.float64), ts.dimensions[:3].astype(np.float64)
        exact = KJ * three(x, x, CHARGES, box, 0.5)
        assert l2_error(found.results.potential[i], exact) <= 1e-5
        assert found.results.energy[i] == pytest.approx(0.5 * CHARGES @ exact, rel=1e-4)
        step = 1e-4 * box[0]
        for axis in range(3):
            ahead, behind = (three(x + s * step * np.eye(3)[axis], x, CHARGES, box, 0.5) for s in (1, -1))
            # its own charge, on either side of a place, adds the same to both
            slope = KJ * (ahead - behind) / (2.0 * step)
            assert l2_error(found.results.field[i][:, axis], -slope) <= 1e-4


def test_without_a_box_and_units():
    atoms = universe().atoms
    found = Electrostatics(atoms, units="V").run(step=2).results
    in_box = Electrostatics(universe(cube(20.0)).atoms, periodic=False, field=False).run().results
    assert "field" not in in_box
    for i, ts in enumerate(atoms.universe.trajectory[::2]):
        x = ts.positions.astype(np.float64)
        exact = taskfmm.direct(x, CHARGES, outputs=("potential", "gradient"))
        assert l2_error(found.potential[i], VOLT * exact["potential"]) <= 1e-6
        assert l2_error(found.field[i], -VOLT * exact["gradient"]) <= 1e-6
        assert l2_error(in_box.potential[2 * i], KJ * exact["potential"]) <= 1e-6
        assert found.energy[i] == pytest.approx(0.5 * VOLT * CHARGES @ exact["potential"])
    assert pytest.approx(constants.physical_constants["Faraday constant"][0] / 1000.0) == KJ / VOLT
    assert pytest.approx(1389.35458) == KJ / (4.0 * np.pi)  # kJ angstrom / (mol e^2), in every force field


def test_targets():
    moving = universe(cube(20.0))
    half, rest = moving.atoms[: N // 2], moving.atoms[N // 2 :]
    probes = [[1.0, 2.0, 3.0], [25.0, -4.0, 3.0]]
    at_atoms = Electrostatics(half, targets=rest, neutralize=True).run().results
    at_places = Electrostatics(half, targets=probes, neutralize=True).run().results
    assert "energy" not in at_atoms
    charges = CHARGES[: N // 2] - CHARGES[: N // 2].mean()
    for i, ts in enumerate(moving.trajectory):
        x = ts.positions.astype(np.float64)
        for found, targets in ((at_atoms, x[N // 2 :]), (at_places, np.array(probes))):
            exact = KJ * three(targets, x[: N // 2], charges, np.full(3, 20.0), 0.2)
            assert l2_error(found.potential[i], exact) <= 1e-5


def test_net_charges():
    """What rounding leaves over is spread over all atoms; a whole charge is only where that is asked for."""
    rounded = CHARGES + 1e-8
    found = Electrostatics(universe(cube(20.0), rounded).atoms).run(stop=1).results
    exact = Electrostatics(universe(cube(20.0)).atoms).run(stop=1).results
    assert l2_error(found.potential, exact.potential) <= 1e-6
    charged = universe(cube(20.0), CHARGES + np.eye(N)[0])
    with pytest.raises(InputError, match=r"frame 0: the charges of the atom group add up to 1 e"):
        Electrostatics(charged.atoms).run()
    spread = Electrostatics(charged.atoms, neutralize=True).run(stop=1).results
    expected = universe(cube(20.0), CHARGES + np.eye(N)[0] - 1.0 / N)
    assert l2_error(spread.potential, Electrostatics(expected.atoms).run(stop=1).results.potential) <= 1e-6
    free = Electrostatics(charged.atoms, periodic=False).run(stop=1).results
    x = charged.atoms.positions.astype(np.float64)
    assert l2_error(free.potential[0], KJ * taskfmm.direct(x, CHARGES + np.eye(N)[0])) <= 1e-6


def test_boxes_that_change_their_shape():
    sides = np.array([[9.0, 9.0, 9.0], [9.0, 9.0, 18.0], [9.0, 18.0, 9.0], [9.0, 9.0, 9.0]])
    atoms = universe(np.concatenate([sides, np.full((FRAMES, 3), 90.0)], axis=1), places=PLACES).atoms
    found = Electrostatics(atoms).run().results
    for i, ts in enumerate(atoms.universe.trajectory):
        x = ts.positions.astype(np.float64)
        exact = three(x, x, CHARGES, sides[i], 0.4)
        assert l2_error(found.potential[i], KJ * exact) <= 1e-5
    slab = Electrostatics(atoms, periodic=(True, True, False)).run(stop=1).results
    x = atoms.universe.trajectory[0].positions.astype(np.float64)
    exact = taskfmm.direct(x, CHARGES, box=(9.0, 9.0, None), periodic=(True, True, False))
    assert l2_error(slab.potential[0], KJ * exact) <= 1e-5


@pytest.mark.parametrize(
    "first, told", [(9.0, "frame 1: there is no box, unlike"), (0.0, "frame 1: there is a box")]
)
def test_boxes_that_come_and_go(first, told):
    atoms = universe([cube(first), cube(9.0 - first)], places=PLACES[:2]).atoms
    with pytest.raises(InputError, match=told):
        Electrostatics(atoms).run()
    assert np.isfinite(Electrostatics(atoms, periodic=False).run().results.potential).all()


@pytest.mark.parametrize(
    "box, periodic, told",
    [
        ([20, 20, 20, 60, 60, 90], "auto", r"frame 0: the box is 20, 20, 20, 60, 60, 90 .*periodic=False"),
        ([20, 20, 20, 90, 90, 90.01], "auto", "right angles"),
        ([20, 21.3, 24.1, 90, 90, 90], True, "ratio of small integers"),
        ([20, 20, 20.001, 90, 90, 90], "auto", "ratio of small integers"),
        ([20, 20, 0, 90, 90, 90], "auto", "the box is 20, 20, 0,"),
        ([20, 20, np.nan, 90, 90, 90], "auto", "the box is 20, 20, nan"),
        (None, True, "there is no box in the trajectory: give periodic=False"),
    ],
)
def test_boxes_that_are_refused(box, periodic, told):
    atoms = universe(box, places=PLACES[:1]).atoms
    with pytest.raises(InputError, match=told):
        Electrostatics(atoms, periodic=periodic).run()
    assert np.isfinite(Electrostatics(atoms, periodic=False).run().results.potential).all()


def test_wrong_arguments():
    atoms, other = universe().atoms, universe().atoms
    bare = MDAnalysis.Universe.empty(3, trajectory=True).atoms
    for group, options, told in (
        (bare, {}, "the topology has no charges"),
        (atoms[:0], {}, "atomgroup has no atoms: the selection found nothing"),
        (atoms, {"targets": atoms[:0]}, "targets has no atoms"),
        (atoms, {"targets": other}, "another universe"),
        (atoms, {"targets": np.zeros((3, 2))}, r"targets have shape \(3, 2\), expected \(m, 3\)"),
        (atoms, {"targets": 1j * np.ones((2, 3))}, "targets have dtype complex128, expected real numbers"),
        (atoms, {"units": "eV"}, "expected one of 'kJ/mol', 'V'"),
        (atoms, {"periodic": "yes"}, "periodic is 'yes'"),
        (atoms, {"neutralize": "no"}, "neutralize is 'no', expected True or False"),
        (atoms, {"periodic": (True, False)}, "periodic is"),
        (atoms.select_atoms("prop x > 3", updating=True), {}, "updating group"),
        (atoms.universe, {}, "atomgroup is Universe, expected an AtomGroup"),
    ):
        with pytest.raises(InputError, match=told):
            Electrostatics(group, **options)
    for unknown in ({"unit": "V"}, {"target": atoms}, {"neutralise": True}, {"pbc": False}):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{next(iter(unknown))}'"):
            Electrostatics(atoms, **unknown)
    with pytest.raises(ValueError, match="parallelize"):
        Electrostatics(atoms).run(backend="multiprocessing", n_workers=2)
    bad = PLACES.copy()
    bad[1, 7, 2] = np.nan
    with pytest.raises(InputError, match=r"frame 1: sources row 7"):
        Electrostatics(universe(places=bad).atoms).run()
    with pytest.raises(InputError, match=r"frame 0: charges row 5"):
        Electrostatics(universe(cube(20.0), np.where(np.arange(N) == 5, np.nan, CHARGES)).atoms).run()


def test_targets_whole_sides_away_from_atoms():
    """Such an atom adds nothing at its own place, wherever its image is; at 1e-16 of the box it would add 1e16."""
    atoms = universe([9.0, 9.0, 18.0, 90, 90, 90], places=PLACES[:1]).atoms
    known = Electrostatics(atoms).run().results
    away = atoms.positions.astype(np.float64) + np.random.default_rng(3).integers(-2, 3, (N, 3)) * [9, 9, 18]
    found = Electrostatics(atoms, targets=away).run().results
    assert l2_error(found.potential, known.potential) <= 2e-4
    assert l2_error(found.field, known.field) <= 2e-4


def test_after_an_error_there_are_no_results():
    """Neither those of the frames before it, nor those of an earlier run."""
    bad = PLACES.copy()
    bad[2, 7, 2] = np.nan
    found = Electrostatics(universe(places=bad).atoms)
    assert set(found.run(stop=2).results) == {"potential", "field", "energy"}
    with pytest.raises(InputError, match="frame 2: sources row 7"):
        found.run()
    assert not found.results


def test_no_frames_and_no_charges_at_all():
    assert Electrostatics(universe().atoms).run(stop=0).results.potential.shape == (0, N)
    found = Electrostatics(universe(cube(20.0), np.zeros(N)).atoms).run().results
    assert not found.potential.any() and not found.energy.any()


def test_a_trajectory_of_gromacs():
    """Cobrotoxin in water, 19,385 sites, with expansions."""
    files = pytest.importorskip("MDAnalysisTests.datafiles")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about bonds and units that play no part here
        atoms = MDAnalysis.Universe(files.TPR_xvf, files.TRR_xvf).atoms
    found = Electrostatics(atoms, field=False).run(step=2).results
    charges = atoms.charges.astype(np.float64)
    charges -= charges.mean()
    some = slice(None, None, 100)
    for i, ts in enumerate(atoms.universe.trajectory[::2]):
        x = ts.positions.astype(np.float64)
        exact = KJ * taskfmm.direct(x, charges, targets=x[some], box=float(ts.dimensions[0]))
        assert l2_error(found.potential[i, some], exact) <= 1e-4


def test_examples():
    found = doctest.testmod(importlib.import_module("taskfmm.interop.mdanalysis"))
    assert found.attempted and not found.failed
