"""What the rest of the library knows of a kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of sources.

    name : also of the formula
    n_numbers : of one source
    odd : whether what it does has the other sign on its opposite side, as with a dipole
    vector : whether its numbers are the components of a vector, which turn with space; else they are scalars
    """

    name: str
    n_numbers: int = 1
    odd: bool = False
    vector: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """A quantity at the targets.

    shape : of the quantity at one target: () for a scalar, (3,) for a vector
    derivative : how many derivatives of the potential it is; each divides by a length
    odd : whether it has the other sign on the opposite side of a charge, as a gradient has
    """

    name: str
    shape: tuple[int, ...] = ()
    derivative: int = 0
    odd: bool = False

    @property
    def n_rows(self) -> int:
        """Numbers at one target."""
        return math.prod(self.shape)


POTENTIAL = Output("potential")
GRADIENT = Output("gradient", (3,), 1, odd=True)
CHARGE = Source("charge")


@dataclass(frozen=True, slots=True)
class Kernel:
    """Facts about a kernel; its formulas are compiled functions of a module.

    name : that users give
    module : where the formulas are, by the name that imports it, also in another process
    factor : the constant left out of the formulas
    degree : K(a x, a y) = a**degree K(x, y); None if no such number exists: such a kernel
        has its loops, but is not planned yet
    parameters : numbers that the formulas get as a float64 array
    sources : equivalent densities are made of the first kind
    outputs : those without a derivative first, since they are what check surfaces receive
    fixed_order : the order at which the kernel is exact, or None
    counts_itself : whether a pair at zero distance adds something
    """

    name: str
    module: str
    factor: float
    degree: int | None
    parameters: tuple[float, ...] = ()
    sources: tuple[Source, ...] = (CHARGE,)
    outputs: tuple[Output, ...] = (POTENTIAL, GRADIENT)
    fixed_order: int | None = None
    counts_itself: bool = False

    @property
    def constants(self) -> np.ndarray:
        """The parameters as formulas get them, float64 [n_parameters]."""
        return np.array(self.parameters, np.float64)

    @property
    def n_charge(self) -> int:
        """Numbers of an equivalent density at a point."""
        return self.sources[0].n_numbers

    @property
    def n_potential(self) -> int:
        """Numbers that a check surface receives at a point."""
        return sum(output.n_rows for output in self.outputs if not output.derivative)

    @property
    def odd_rows(self) -> tuple[bool, ...]:
        """Of each row that a formula gives, whether it is of an odd output."""
        return tuple(output.odd for output in self.outputs for _ in range(output.n_rows))

    def rows(self, output: str) -> slice:
        """The rows of an output among those that a formula gives."""
        names = [each.name for each in self.outputs]
        number = names.index(output)
        first = sum(each.n_rows for each in self.outputs[:number])
        return slice(first, first + self.outputs[number].n_rows)

    def power(self, output: str) -> int:
        """The power of a length that an output goes with: the degree, less one for each derivative.

        Raises
        ------
        NotImplementedError
            There is no degree: the operators of one box would serve those of another size, with wrong numbers.
        """
        if self.degree is None:
            raise NotImplementedError(f"kernel {self.name} has no degree, which plans and sums need so far")
        return self.degree - next(each.derivative for each in self.outputs if each.name == output)

    def scale(self, values: np.ndarray, width: float) -> None:
        """Multiply rows of results, [n_components, ...], that were formed in units of a width, by its powers."""
        for output in self.outputs:
            rows = self.rows(output.name)
            if rows.stop <= len(values):
                values[rows] *= width ** self.power(output.name)

    def n_components(self, output: str) -> int:
        """Rows that are computed for an output: its own and all before them."""
        return self.rows(output).stop
