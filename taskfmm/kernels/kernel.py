"""What the rest of the library knows of a kernel."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kernel:
    """Facts about a pair formula K(x, y); the formula itself is compiled code in the module of that name.

    name : the registry's name and the module's
    factor : the constant left out of the pair functions
    degree : K(a x, a y) = a**degree K(x, y); None if no such number exists, then operators differ by level
    n_charge : numbers a source carries
    n_potential : numbers a target receives
    fixed_order : the order at which the kernel is exact, or None
    counts_itself : whether a pair at zero distance adds something
    """

    name: str
    factor: float
    degree: int | None
    n_charge: int = 1
    n_potential: int = 1
    fixed_order: int | None = None
    counts_itself: bool = False

    def n_components(self, output: str) -> int:
        """Rows of a result: the potential, then (for output "gradient") its x, y, z derivatives."""
        return self.n_potential * {"potential": 1, "gradient": 4}[output]
