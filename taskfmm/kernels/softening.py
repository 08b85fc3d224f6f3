"""Kernels whose sources are softened by a length each, within which they do something else than expansions say."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from taskfmm import foreign, validate
from taskfmm.errors import InputError


@dataclass(frozen=True, slots=True)
class Softening:
    """What pairs of points do that are closer than a length; expansions know nothing of it.

    Where the targets are the sources, a pair has the larger of both lengths.

    formula : the formula of a pair is called so, an underscore, and the kind of source; it gets the length after the
        numbers of the source
    beyond : the name of the kernel without softening, which has the same parameters, sources and outputs
    difference : at a distance R of many lengths h, a source differs from that kernel by (h / R)^2 times this or
        less; 0 where it does not differ at all beyond h
    digest : of the lengths; kernels are equal where theirs are
    lengths : float64, of each source or one for all, or a dask.array of each; None in plans, where lengths belong to
        the tree
    """

    formula: str
    beyond: str
    difference: float = 0.0
    digest: str = ""
    lengths: np.ndarray | None = field(default=None, compare=False, repr=False)

    def with_lengths(self, lengths: Any) -> Softening:
        """The same with a copy of these lengths, or with lazy ones, which are equal where their names are."""
        if not isinstance(lengths, np.ndarray):
            digest = hashlib.sha256(f"{lengths.shape}{lengths.name}".encode()).hexdigest()[:16]
            return replace(self, digest=digest, lengths=lengths)
        own = np.array(lengths, np.float64)
        own.flags.writeable = False
        digest = hashlib.sha256(f"{own.shape}".encode() + own.tobytes()).hexdigest()[:16]
        return replace(self, digest=digest, lengths=own)

    @property
    def bare(self) -> Softening:
        """The same without lengths."""
        return replace(self, digest="", lengths=None)

    def of_sources(self, n_sources: int, kernel: str) -> np.ndarray:
        """The length of each source, float64 [n_sources], here and now; raises InputError where there are others."""
        self.refuse_others(n_sources, kernel)
        found = self.lengths if isinstance(self.lengths, np.ndarray) else checked(self.lengths)
        return np.broadcast_to(found, n_sources)

    def refuse_others(self, n_sources: int, kernel: str) -> None:
        """Raise InputError where there are no lengths, or those of other sources."""
        if self.lengths is None:
            raise InputError(
                f"kernel {kernel!r} has no softening lengths: make it with taskfmm.kernels.Gravity(softening=...)"
            )
        if self.lengths.ndim and self.lengths.size != n_sources:
            raise InputError(
                f"softening has {self.lengths.size} lengths, sources has {n_sources}: give one for each source, or "
                "one number for all"
            )

    def reach(self, eps: float) -> float:
        """The distance, in lengths, beyond which a difference goes unnoticed at eps."""
        return max(1.0, float(np.sqrt(self.difference / eps)))


def checked(given: Any) -> np.ndarray:
    """One length for each source, float64 [n], gathered where they are lazy; raises InputError."""
    found = foreign.numpy_array("softening", given)
    refuse_shape(found.shape)
    lengths = validate.charges(found, len(found), name="softening")
    refuse_negative(lengths)
    return lengths


def refuse_shape(shape: tuple[Any, ...]) -> None:
    """Raise InputError where there is no length for each source."""
    if len(shape) != 1:
        raise InputError(f"softening has shape {shape}, expected one number for each source, or one for all")


def refuse_negative(lengths: np.ndarray, first_row: int = 0, where: str = "") -> None:
    """Raise InputError for a length below zero; first_row, where : as of `taskfmm.validate.points`"""
    if lengths.size and lengths.min() < 0.0:
        row = int(lengths.argmin())
        raise InputError(
            f"softening row {first_row + row} is {lengths[row]}{where}: give lengths in the unit of the points, or 0 "
            "where a body is not softened"
        )
