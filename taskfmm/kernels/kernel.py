"""What the rest of the library knows of a kernel."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from taskfmm.errors import InputError
from taskfmm.kernels.softening import Softening


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of sources.

    name : also of the formula
    n_numbers : of one source
    odd : whether what it does has the other sign on its opposite side, as with a dipole
    derivative : how many derivatives of the kernel its formula is, each of which divides by a length
    argument : by which users give them; the name and an s, if left out
    vector : whether its numbers are the components of a vector, which turn with space
    shape : of what users give for one source, where that is no single number or row of them: (3, 3) for the product
        of two vectors, for which a pair of vectors may be given as well
    part : of a matrix, which part alone does anything: 1 the symmetric, -1 the antisymmetric one, 0 for both
    complex : whether users give complex numbers; formulas get the real part of each, then the imaginary part with
        the other sign. That makes exp(i k r) / r, as a matrix from (a, -b) to (re, im), symmetric
    """

    name: str
    n_numbers: int = 1
    odd: bool = False
    derivative: int = 0
    argument: str = ""
    vector: bool = False
    shape: tuple[int, ...] = ()
    complex: bool = False
    part: int = 0

    @property
    def given_as(self) -> str:
        """The name of the argument."""
        return self.argument or f"{self.name}s"

    @property
    def of_one(self) -> tuple[int, ...]:
        """The shape of what users give for one source."""
        n = self.n_numbers // 2 if self.complex else self.n_numbers
        return self.shape or ((n,) if n > 1 else ())

    def numbers(self, given: np.ndarray) -> np.ndarray:
        """What formulas get of what users give, float64 [n, n_numbers].

        Of matrices the part that does anything: the other one would seem to cancel.
        """
        shape = len(given), self.n_numbers
        if self.part:
            given = 0.5 * (given + self.part * given.swapaxes(1, 2))
        if self.complex:
            given = np.ascontiguousarray(np.conj(given.astype(np.complex128))).view(np.float64)
        return np.asarray(given, np.float64).reshape(shape)


@dataclass(frozen=True, slots=True)
class Output:
    """A quantity at the targets.

    shape : of the quantity at one target: () for a scalar, (3,) for a vector
    derivative : how many derivatives of the potential it is; each divides by a length
    odd : whether it has the other sign on the opposite side of a charge, as a gradient has
    symmetric : of a matrix, shape (3, 3): formulas give xx, xy, xz, yy, yz and zz only
    divisor : number of the parameter by which results are divided at the end, and not in the formula, so that
        measured errors serve all its values; None for none
    complex : formulas give the real parts of all its numbers, then the imaginary parts
    """

    name: str
    shape: tuple[int, ...] = ()
    derivative: int = 0
    odd: bool = False
    symmetric: bool = False
    divisor: int | None = None
    complex: bool = False

    @property
    def n_rows(self) -> int:
        """Rows that formulas give: numbers at one target."""
        n = len(UPPER[0]) if self.symmetric else math.prod(self.shape)
        return 2 * n if self.complex else n

    def dtype(self, real: np.dtype) -> np.dtype:
        """Of results that are this output, where those of real ones have another."""
        return np.result_type(real, np.complex64) if self.complex else real

    def shaped(self, rows: np.ndarray) -> np.ndarray:
        """Rows, [n_rows, n], as users get them, [n, *shape]."""
        if self.complex:
            parts, rows = rows, np.empty((len(rows) // 2, rows.shape[1]), np.complex128)
            rows.real, rows.imag = np.split(parts, 2)  # 1j * inf would make the real part undefined
        if self.symmetric:
            found = np.empty((rows.shape[1], *self.shape), rows.dtype)
            found[:, UPPER[0], UPPER[1]] = found[:, UPPER[1], UPPER[0]] = rows.T
            return found
        return rows.T.reshape(-1, *self.shape) if self.shape else rows[0]


UPPER = np.triu_indices(3)
"""Rows and columns of the numbers of a symmetric matrix."""

POTENTIAL = Output("potential")
GRADIENT = Output("gradient", (3,), 1, odd=True)
HESSIAN = Output("hessian", (3, 3), 2, symmetric=True)
CHARGE = Source("charge")
DIPOLE = Source("dipole", 3, odd=True, derivative=1, vector=True)


@dataclass(frozen=True, slots=True)
class Kernel:
    """Facts about a kernel; its formulas are compiled functions of a module.

    name : that users give
    module : where the formulas are, by the name that imports it, also in another process
    factor : the constant left out of the formulas
    degree : K(a x, a y) = a**degree K(x, y); None if no such number exists
    parameters : numbers that the formulas get as a float64 array, in the caller's units of length
    sources : the kinds that are given
    outputs : those without a derivative first, since they are what check surfaces receive
    density : the kind that equivalent densities are made of; the first of the sources, if left out
    expansion : the kernel whose multipoles and locals stand for the sources, where it is not this one
    columns : how many of them a box has, each with densities of its own; of all vectors together
    vectors : how many vectors of sources are summed at once; where numbers have a row each, those of the first vector
        come first
    first_row : how many of the rows that formulas give are not computed, since no output is asked for that needs them
    first_moment : whether the last column is the first moment of the three before it, see
        `taskfmm.operators.moment`
    fixed_order : the order at which the kernel is exact, or None
    counts_itself : whether a pair at zero distance adds something
    surfaces : where densities live and potentials are checked, see `taskfmm.geometry.surface.ARRANGEMENTS`
    softening : what sources do close by, where they have lengths of their own; such a kernel has an expansion
    lattices : along how many axes a periodic box may be repeated, see `taskfmm.operators.lattice`
    roots : how many digits reciprocal roots have, see `taskfmm.kernels.roots`; "" for all
    extra : what formulas take beside the distance and the sums, as for an exponential, over what a pair of charges
        takes with 1 / r; leaves are chosen by it
    """

    name: str
    module: str
    factor: float
    degree: int | None
    parameters: tuple[float, ...] = ()
    sources: tuple[Source, ...] = (CHARGE,)
    outputs: tuple[Output, ...] = (POTENTIAL, GRADIENT)
    density: Source | None = None
    expansion: Kernel | None = None
    columns: int = 1
    vectors: int = 1
    first_row: int = 0
    first_moment: bool = False
    fixed_order: int | None = None
    counts_itself: bool = False
    surfaces: str = "single"
    softening: Softening | None = field(default=None, repr=False)  # the name tells which, plans tell lengths
    extra: float = 0.0
    lattices: tuple[int, ...] = ()
    roots: str = field(default="", compare=False)  # it is the same kernel

    @property
    def constants(self) -> np.ndarray:
        """The parameters as formulas get them, float64 [n_parameters]."""
        return np.array(self.parameters, np.float64)

    @property
    def dense(self) -> Source:
        """The kind that equivalent densities are made of; with an expansion, the numbers of all columns."""
        if self.expansion is not None:
            return Source("columns", self.columns // self.vectors * self.n_charge)
        return self.density or self.sources[0]

    @property
    def expands(self) -> Kernel:
        """The kernel that operators are made of: densities in, what check surfaces receive out, and no more."""
        if self.expansion is not None:
            return self.expansion.expands
        plain = tuple(output for output in self.outputs if not output.derivative)
        return replace(self.of_one.exact, sources=(self.dense,), density=None, outputs=plain)

    @property
    def elliptic(self) -> bool:
        """Whether the field in a box follows from its values on a surface around it."""
        return self.expands.surfaces != "filled"

    @property
    def onto_surfaces(self) -> tuple[Source, ...]:
        """The formulas of what check surfaces receive from each kind of source."""
        if self.expansion is None:
            return self.sources
        return tuple(Source(f"{kind.name}_columns", kind.n_numbers) for kind in self.sources)

    def with_sources(self, *kinds: Source) -> Kernel:
        """The same kernel, with the same expansions, where only these kinds are given."""
        if kinds == self.sources:
            return self
        return replace(self, sources=kinds, density=None if self.expansion else self.dense)

    def with_vectors(self, n: int) -> Kernel:
        """The same kernel, for so many vectors of sources at once instead of one."""
        return self if n == 1 else replace(self, vectors=n, columns=n * self.columns)

    def computing(self, outputs: Iterable[str]) -> Kernel:
        """The same kernel, without the rows of outputs before these, where there are many vectors.

        They take time for each vector. Of one vector they come for nothing, and leaving them out takes other loops.
        """
        first = min(self.names.index(name) for name in outputs)
        rows = sum(output.n_rows for output in self.outputs[:first])
        return self if self.vectors == 1 else replace(self, first_row=rows)

    @property
    def sending(self) -> Kernel:
        """The same kernel as multipoles have it, whatever is to be computed from these."""
        return replace(self, first_row=0)

    @property
    def exact(self) -> Kernel:
        """The same kernel with all digits of its roots."""
        return replace(self, roots="")

    @property
    def of_one(self) -> Kernel:
        """The same kernel, for one vector of sources."""
        if self.vectors == 1:
            return self
        return replace(self, vectors=1, first_row=0, columns=self.columns // self.vectors)

    @property
    def kinds(self) -> tuple[Source, ...]:
        """The kinds of sources, those of each vector after those of the one before."""
        return self.vectors * self.sources

    def with_parameters(self, *parameters: float) -> Kernel:
        """The same kernel with other parameters; raises InputError where they are no numbers."""
        try:
            return replace(self, parameters=tuple(map(float, parameters)))
        except (TypeError, ValueError):
            raise InputError(
                f"parameters of kernel {self.name!r} are {parameters}, expected real numbers"
            ) from None

    @property
    def measured(self) -> Kernel:
        """The same kernel, with 1 for each parameter that results are only divided by: errors are the same."""
        divisors = {output.divisor for output in self.outputs}
        return self.exact.with_parameters(
            *(1.0 if number in divisors else each for number, each in enumerate(self.parameters))
        )

    @property
    def divisors(self) -> tuple[float, ...]:
        """What results of outputs are divided by at the end."""
        return tuple(self.parameters[each.divisor] for each in self.outputs if each.divisor is not None)

    def constant(self, output: str) -> float:
        """What results of an output are multiplied by at the end."""
        divisor = self.output(output).divisor
        return self.factor if divisor is None else self.factor / self.parameters[divisor]

    @property
    def of_first(self) -> Kernel:
        """The same kernel, where only the first kind is given."""
        return self.with_sources(self.sources[0])

    def up_to(self, output: str) -> Kernel:
        """The same kernel, with the same expansions, without the outputs after this one."""
        return replace(self, outputs=self.outputs[: self.names.index(output) + 1])

    @property
    def of_densities(self) -> Kernel:
        """The same kernel, with equivalent densities as its sources."""
        return self.unsoftened.with_sources(self.dense)

    @property
    def unsoftened(self) -> Kernel:
        """The kernel that this one is beyond its softening."""
        return self if self.softening is None else replace(self, name=self.softening.beyond, softening=None)

    @property
    def without_lengths(self) -> Kernel:
        """The same kernel without the lengths of its sources: the plan has them."""
        return self if self.softening is None else replace(self, softening=self.softening.bare)

    def with_lengths(self, lengths: Any) -> Kernel:
        """The same kernel with these lengths of its sources, float64 [n_sources], or one for all; or a dask.array."""
        assert self.softening is not None
        return replace(self, softening=self.softening.with_lengths(lengths))

    def lengths(self, n_sources: int) -> np.ndarray | None:
        """Of each source, float64 [n_sources]; None without softening. Raises InputError where they do not fit."""
        return None if self.softening is None else self.softening.of_sources(n_sources, self.name)

    @property
    def n_numbers(self) -> int:
        """Numbers of a source, of all kinds together."""
        return sum(kind.n_numbers for kind in self.sources)

    @property
    def n_charge(self) -> int:
        """Numbers of an equivalent density at a point, of one column."""
        return self.dense.n_numbers if self.expansion is None else self.expansion.n_charge

    @property
    def n_potential(self) -> int:
        """Numbers that a check surface receives at a point, of one column."""
        return self.n_plain if self.expansion is None else self.expansion.n_potential

    @property
    def n_plain(self) -> int:
        """Rows of the outputs without a derivative."""
        return sum(output.n_rows for output in self.outputs if not output.derivative)

    @property
    def odd_rows(self) -> tuple[bool, ...]:
        """Of each row that may be computed, whether it is of an odd output."""
        rows = tuple(output.odd for output in self.outputs for _ in range(output.n_rows))
        return rows[self.first_row :]

    @property
    def names(self) -> tuple[str, ...]:
        """Of all outputs."""
        return tuple(output.name for output in self.outputs)

    @property
    def usual(self) -> tuple[str, ...]:
        """Of those outputs that are computed where none is named: second derivatives cost much, and few need them."""
        return tuple(output.name for output in self.outputs if output.derivative < 2)

    def output(self, name: str) -> Output:
        """An output by its name."""
        return self.outputs[self.names.index(name)]

    def last(self, outputs: Iterable[str]) -> str:
        """The output with which the others of these come for nothing: they stand before it."""
        return self.names[max(self.names.index(name) for name in outputs)]

    def rows(self, output: str) -> slice:
        """The rows of an output among those that are computed; before 0 if they are not."""
        number = self.names.index(output)
        first = sum(each.n_rows for each in self.outputs[:number]) - self.first_row
        return slice(first, first + self.outputs[number].n_rows)

    def n_components(self, output: str) -> int:
        """Rows that are computed for an output of one vector: its own and those before them."""
        return self.rows(output).stop

    def n_values(self, output: str) -> int:
        """The same of all vectors."""
        return self.vectors * self.n_components(output)

    def power(self, output: str) -> int:
        """The power of a length that an output goes with: the degree, less one for each derivative.

        Raises
        ------
        ValueError
            There is no degree: results in one unit of length say nothing of those in another.
        """
        if self.degree is None:
            raise ValueError(f"kernel {self.name} has no degree")
        return self.degree - self.output(output).derivative

    def scale(self, values: np.ndarray, width: float) -> None:
        """Multiply rows of results, [n_values, ...], that were formed in units of a width, by its powers."""
        if width == 1.0:
            return
        for of_vector in np.split(values, self.vectors):  # views
            for output in self.outputs:
                rows = self.rows(output.name)
                if rows.start >= 0 and rows.stop <= len(of_vector):
                    of_vector[rows] *= width ** self.power(output.name)

    def in_width(self, numbers: np.ndarray, width: float) -> np.ndarray:
        """The numbers of sources, [n_numbers, n], in units of a width: those of a dipole carry a length more.

        Where sources are softened, their lengths may be a further row.
        """
        if width == 1.0 or not any(kind.derivative for kind in self.sources):
            return numbers
        powers = [-kind.derivative for kind in self.kinds for _ in range(kind.n_numbers)]
        powers += [-1] * (len(numbers) - len(powers))
        return numbers * (width ** np.array(powers, np.float64))[:, None]
