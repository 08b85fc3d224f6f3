"""Electrostatic potentials, fields and energies along a trajectory, as an analysis class of MDAnalysis."""

from __future__ import annotations

from typing import Any

import dask
import numpy as np
from scipy import constants

import taskfmm
from taskfmm.geometry.periodic import MOST_CUBES, whole_multiples

try:
    from MDAnalysis import AtomGroup
    from MDAnalysis.analysis.base import AnalysisBase
    from MDAnalysis.core.groups import UpdatingAtomGroup
    from MDAnalysis.exceptions import NoDataError
except ImportError as error:
    raise ImportError(
        f"taskfmm.interop.mdanalysis needs MDAnalysis, and {error.name} is missing: "
        'pip install "taskfmm[mdanalysis]" (from a clone: pip install ".[mdanalysis]")'
    ) from error

VOLTS = constants.e / (constants.epsilon_0 * constants.angstrom)
"""Volts in one elementary charge per angstrom, divided by eps0, by the constants of CODATA in `scipy.constants`."""

UNITS = {"kJ/mol": VOLTS * constants.e * constants.N_A / 1000.0, "V": VOLTS}
"""By what taskfmm's potential q / (4 pi r), with e and angstrom, is multiplied; 4 pi * 1389.35 for kJ/mol."""

SINGLE = 1e-6
"""Sides of a box that are in a ratio of whole numbers to within this part are so: they are in single precision."""

RIGHT = 1e-4
"""Degrees by which an angle of a box may differ from 90, for the same reason."""

ROUNDING, MOST_ROUNDING = 1e-6, 0.01
"""A net charge of at most this part of the sum of the magnitudes, and of so many e, is one of rounding."""


class Electrostatics(AnalysisBase):
    """The potential, the field and the energy of the charges of an atom group, frame by frame.

    Parameters
    ----------
    atomgroup : MDAnalysis.AtomGroup
        The charges that act, and the places where they are: every pair of atoms counts, also those that are bonded,
        as a force field may leave out. Not an updating one.
    targets : array_like (m, 3) or AtomGroup, optional
        Where to evaluate: places in angstrom that do not move, or atoms of the same universe. The atoms themselves,
        if left out. A charge in the very place of a target adds nothing there.
    eps : float
        The relative l2 error asked for in each frame, of the potential and of the field.
    periodic : "auto", bool, or three of them
        "auto" takes the boxes of the frames, repeated along all axes, or no box where no frame has one. True asks for
        a box; three say along which axes it is repeated; False sums without images, whatever box is there.
        The sum is Ewald's, with a conductor around all images, as for `taskfmm.Fmm`.
    neutralize : bool
        A box can only be repeated if its charges add up to zero. What rounding leaves over is subtracted from all
        atoms in equal parts. A whole net charge is refused, unless this is True: then it is treated in the same way,
        which is near to the uniform background of particle-mesh codes where atoms are everywhere in the box.
    units : "kJ/mol" or "V"
        Potentials in kJ / (mol e), fields in kJ / (mol e angstrom) and energies in kJ/mol, as MDAnalysis has them; or
        in V, V / angstrom and eV.
    field : bool
        Whether fields are computed as well, which takes up to twice as long.
    verbose : bool
        Whether a bar shows how far it is, as of AnalysisBase.

    Attributes
    ----------
    results : empty before ``run`` has ended well
    results.potential : float64 [frames, targets]
        ``sum_j q_j / (4 pi eps0 |x - y_j|)``, with all images in a box.
    results.field : float64 [frames, targets, 3]
        Minus the gradient of the potential: times a charge it is the force on it. Where ``field`` is True.
    results.energy : float64 [frames]
        Half of the sum of charges times potentials. Where ``targets`` are left out.
    times, frames : float64 [frames] and int [frames], of AnalysisBase

    Raises
    ------
    InputError
        No atoms, no charges in the topology, an updating group, atoms of another universe, an unknown unit. Of
        ``run``, with the number of the frame: a box that `taskfmm.Fmm` cannot repeat, as one with slanted axes or
        with sides that are in no ratio of small integers; a box in some of the frames only, with "auto"; a net charge
        in a box; a value that is not finite.
    AccuracyError
        eps is below the floor for these charges.

    Notes
    -----
    The plan is made in the first frame, in units of the side of the box, and `taskfmm.Fmm.moved` from frame to frame,
    also where the box breathes. Sides are taken for whole multiples where they are to 1e-6, which is the precision of
    trajectories. Tasks run on the scheduler of Dask in use, on all threads if none is chosen; `run` itself takes the
    serial backend alone, and MDAnalysis refuses others.

    Examples
    --------
    >>> import MDAnalysis, numpy as np
    >>> from taskfmm.interop.mdanalysis import Electrostatics
    >>> universe = MDAnalysis.Universe.empty(2, trajectory=True)
    >>> universe.add_TopologyAttr("charges", [1.0, -1.0])
    >>> universe.atoms.positions = [[0, 0, 0], [0, 0, 2]]
    >>> found = Electrostatics(universe.atoms).run().results
    >>> found.potential.round(3), found.energy.round(3)
    (array([[-694.677,  694.677]]), array([-694.677]))
    >>> Electrostatics(universe.atoms, targets=[[0, 0, 1]], units="V").run().results.field[0, 0, 2].round(2)
    np.float64(28.8)
    """

    def __init__(
        self,
        atomgroup: Any,
        targets: Any = None,
        eps: float = 1e-4,
        periodic: Any = "auto",
        neutralize: bool = False,
        units: str = "kJ/mol",
        field: bool = True,
        verbose: bool = False,
    ) -> None:
        _refuse_group("atomgroup", atomgroup)
        if isinstance(targets, AtomGroup):
            _refuse_group("targets", targets)
            if targets.universe is not atomgroup.universe:
                raise taskfmm.InputError(
                    "targets are atoms of another universe, which does not move along: give atoms of the same one"
                )
        if units not in UNITS:
            raise taskfmm.InputError(f"units is {units!r}, expected one of {', '.join(map(repr, UNITS))}")
        axes = np.asarray(True if isinstance(periodic, str) and periodic == "auto" else periodic)
        if axes.dtype != bool or axes.shape not in ((), (3,)):
            raise taskfmm.InputError(
                f"periodic is {periodic!r}, expected 'auto', True, False, or True or False for each of x, y and z"
            )
        if not isinstance(neutralize, (bool, np.bool_)):
            raise taskfmm.InputError(f"neutralize is {neutralize!r}, expected True or False")
        if targets is not None and not isinstance(targets, AtomGroup):
            targets = np.asarray(targets)
            if targets.ndim != 2 or targets.shape[1] != 3:
                raise taskfmm.InputError(f"targets have shape {targets.shape}, expected (m, 3)")
            if targets.dtype.kind not in "iuf":
                raise taskfmm.InputError(f"targets have dtype {targets.dtype}, expected real numbers")
        super().__init__(atomgroup.universe.trajectory, verbose=verbose)
        self._atoms, self._targets, self._eps = atomgroup, targets, eps
        self._axes, self._may_be_missing = np.broadcast_to(axes, 3), isinstance(periodic, str)
        self._neutralize = neutralize
        self._units, self._field = units, field

    def _prepare(self) -> None:
        """Room for results, which are not there before all frames are; and no plan yet."""
        targets = self._atoms if self._targets is None else self._targets
        shape = self.n_frames, len(targets)
        self.results.clear()
        self._found: dict[str, np.ndarray] = {"potential": np.zeros(shape)}
        if self._field:
            self._found["field"] = np.zeros((*shape, 3))
        if self._targets is None:
            self._found["energy"] = np.zeros(self.n_frames)
        self._fmm: taskfmm.Fmm | None = None
        self._has_box: bool | None = None
        self._planned_for: dict[str, Any] = {}

    def _single_frame(self) -> None:
        try:
            self._evaluate()
        except taskfmm.InputError as error:
            raise type(error)(f"frame {self._ts.frame}: {error}") from error

    def _conclude(self) -> None:
        self.results.update(self._found)

    def _evaluate(self) -> None:
        length, box = self._box()
        charges = self._charges(bool(box))
        fmm = self._plan(length, box)
        names = ("potential", "gradient") if self._field else ("potential",)
        (found,) = dask.compute(fmm.evaluate(charges, outputs=names))
        frame, factor = self._frame_index, UNITS[self._units] / length
        potential = self._found["potential"][frame] = factor * found["potential"]
        if self._field:
            self._found["field"][frame] = -factor / length * found["gradient"]
        if self._targets is None:
            self._found["energy"][frame] = 0.5 * charges @ potential

    def _plan(self, length: float, box: dict[str, Any]) -> taskfmm.Fmm:
        """That of the frame before for the places of this one; a new one where there is none, or another box."""
        targets = self._targets.positions if isinstance(self._targets, AtomGroup) else self._targets
        targets = None if targets is None else self._places(targets, length, bool(box))
        sources = self._places(self._atoms.positions, length, bool(box))
        if self._fmm is None or box != self._planned_for:
            self._fmm, self._planned_for = taskfmm.Fmm(sources, targets, eps=self._eps, **box), box
        else:
            self._fmm = self._fmm.moved(sources, targets)
        return self._fmm

    def _places(self, positions: np.ndarray, length: float, repeated: bool) -> np.ndarray:
        """Positions in the unit, and in a box: those that are whole sides apart are in one place, to the last bit."""
        found = positions.astype(np.float64)
        if repeated:
            sides = self._ts.dimensions[:3].astype(np.float64)[self._axes]
            with np.errstate(invalid="ignore"):  # what is not finite is refused with the number of the atom
                found[:, self._axes] = np.mod(found[:, self._axes], sides)
        return np.asarray(found / length)

    def _charges(self, repeated: bool) -> np.ndarray:
        """Charges of the atoms, float64 [n]; in a box they add up to zero."""
        charges = self._atoms.charges.astype(np.float64)
        if not repeated or not np.isfinite(charges).all():
            return charges
        net = charges.sum()
        if not self._neutralize and abs(net) > min(ROUNDING * np.abs(charges).sum(), MOST_ROUNDING):
            raise taskfmm.InputError(
                f"the charges of the atom group add up to {net:.6g} e, and repeated without end to infinity: add the "
                "ions that are missing, give neutralize=True to spread the opposite charge over all atoms, or "
                "periodic=False to sum without images"
            )
        return charges - charges.mean()

    def _box(self) -> tuple[float, dict[str, Any]]:
        """A unit of length in angstrom, and the box in this unit, as arguments of Fmm; none for no box.

        Boxes of one shape are the same in this unit, however they breathe, and serve one plan.
        """
        given = self._ts.dimensions
        if self._may_be_missing and self._has_box not in (None, given is not None):
            raise taskfmm.InputError(
                f"there is {'a' if given is not None else 'no'} box, unlike in the frames before: give "
                "periodic=False to sum all frames without images, or run those with a box by themselves"
            )
        self._has_box = given is not None
        if not self._axes.any() or (given is None and self._may_be_missing):
            return 1.0, {}
        if given is None:
            raise taskfmm.InputError(
                "there is no box in the trajectory: give periodic=False to sum without images"
            )
        sides, angles = given[:3].astype(np.float64), given[3:]
        repeated = sides[self._axes].tolist()
        is_brick = (np.abs(angles - 90.0) <= RIGHT).all() and all(0.0 < side < np.inf for side in repeated)
        fits = whole_multiples(repeated) if is_brick else iter(())
        whole = next((whole for misfit, whole in fits if misfit <= SINGLE), None)
        if whole is None:
            told = ", ".join(f"{number:.7g}" for number in given)
            raise taskfmm.InputError(
                f"the box is {told} (sides in angstrom, angles in degrees), and taskfmm repeats boxes with right "
                f"angles whose sides are in a ratio of small integers, such as 1:1:2, of at most {MOST_CUBES} cubes: "
                "give periodic=False to sum without images"
            )
        box = np.zeros(3)
        box[self._axes] = np.divide(whole, whole[0])
        return repeated[0], {"box": tuple(box.tolist()), "periodic": tuple(self._axes.tolist())}


def _refuse_group(name: str, group: Any) -> None:
    """Raise InputError where a group is none, changes from frame to frame, is empty, or has no charges."""
    if not isinstance(group, AtomGroup):
        raise taskfmm.InputError(
            f"{name} is {type(group).__name__}, expected an AtomGroup, as universe.atoms"
        )
    if isinstance(group, UpdatingAtomGroup):
        raise taskfmm.InputError(
            f"{name} is an updating group, and rows of results belong to one atom each: give group.universe.atoms"
            "[group.ix], those of this frame"
        )
    if not len(group):
        raise taskfmm.InputError(f"{name} has no atoms: the selection found nothing")
    try:
        if name == "atomgroup":
            _ = group.charges
    except NoDataError as error:
        raise taskfmm.InputError(
            "the topology has no charges: read one that has, as TPR, PSF, PRMTOP or PQR, or give them by "
            "universe.add_TopologyAttr('charges', charges)"
        ) from error
