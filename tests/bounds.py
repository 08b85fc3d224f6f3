"""The one table of tolerances, each with its reason. Nobody loosens them: a test that exceeds one has found a bug.

Errors are relative l2 errors unless said otherwise.
"""

from __future__ import annotations

ROUNDING = 1e-13
"""Two sums of the same few hundred float64 terms in another order: some tens of half-ulps, no more."""

SUM_ROUNDING = 1e-12
"""Two float64 sums over up to 1e5 terms, potentials of any sign, against the sum of magnitudes."""

TWO_FACTOR = 1e-12
"""The inverse in two factors keeps all digits but the last few (5e-15 measured at order 8)."""

SYMMETRY = 1e-11
"""A rotated core against the one projected from its own kernel matrix: rounding, over the smallest kept
singular value's share in the basis."""

PEER = 1e-2
"""Another code that is asked for 1e-4, whatever it makes of that: a sign, a factor or an order of components that is
not ours gives 0.3 or more."""

OPERATOR_ERROR = {
    "p2m": 4.5e-6,
    "m2m": 1.5e-5,
    "m2l": 6e-5,
    "p2l": 4e-5,
    "l2l": 3e-6,
    "m2p": 2e-5,
    "l2p gradient": 1.6e-3,
}
"""Order 6, cuts at 1e-6, charges of random sign, the worst placement: twice what a correct operator measures.
A lost octant, a wrong radius or a wrong level factor gives 1e-2 or more."""

CHECK_POTENTIAL = 10.0
"""Check potential after inverse and surface, in units of the cut of the singular values: charges of random sign
have a potential several times smaller than that of the first singular vector."""

OPERATOR_SLOPE = {
    "p2m": -0.76,
    "m2m": -0.70,
    "m2l": -0.68,
    "p2l": -0.80,
    "l2l": -0.76,
    "m2p": -0.72,
    "l2p gradient": -0.58,
}
"""Decimal digits of error for each order, least squares over orders 3 to 8; about 0.1 less steep than measured."""

FMM_SLOPE = {"potential": -0.75, "gradient": -0.60}
"""The same for the whole method. Theory gives (1.05 sqrt 3 / 2.95) ** p, 0.21 digits, for the worst pair of
points; all pairs together measure 0.8 to 1.1 digits, a gradient 0.1 less."""

FINITE_DIFFERENCE = 1e-7
"""Gradient of the direct sum against central differences with step h = 1e-4 of the distance to the nearest
source: h ** 2 relative."""

FMM_DIFFERENCE = 2e-5
"""Gradient of the FMM at order 10 against central differences of its potential over h = 1e-3: the difference
errs by h ** 2 times the third derivative over the first, some 5e-6 this far from the sources, and by the jumps of
the potential between boxes, 1e-9 / h = 1e-6."""

PROPERTY = 1e-12
"""Linearity and permutations hold for the method as for the exact sum: only rounding differs. Rounding grows in
the expansions by the norms of translations, a factor of ten over ROUNDING."""

EPS_PROPERTY = 2.0
"""Properties of the exact sum that the method has to eps only (translation, other trees): two results, each
within eps."""

MACHINE = {"float64": 2.3e-16, "float32": 1.2e-7}
"""Spacing of results returned in that dtype."""

SERIAL_ERROR = {"potential": 2e-2, "gradient": 2e-2}
"""Order 3, charges of random sign: what order 3 gives (4e-3 to 1e-2 measured), with room for another cloud. Any
missing entry of a list gives more."""

ORDER_5 = 5e-4
"""Order 5, potentials and gradients of charges of random sign (2e-4 measured, at targets apart from the sources): a
sign, a factor or an order of columns that is wrong gives 1."""

FLOAT32_ERROR = 1e-6
"""What rounding a result to float32 may add to its relative error: half of 1.2e-7 and some cancellation."""

TABLE_DIGITS = 1e-2
"""The calibration holds three digits; another LAPACK may cut one singular value more or less at a tolerance."""

FAR_GRADIENT = 10.0
"""Error of a gradient far from all sources, in units of eps times the potential over the width of the cloud: the
potential errs by eps over about a tenth of that width, the size of a leaf."""

TWO_CLOCKS = 1e-3
"""Seconds by which two clocks of one machine may differ over one task: one is steady, the other is corrected."""

MIXED = 2.5e-11
"""Relative l2 difference of two orders of sums at an eps of 1e-9. What belongs to singular values of M2L below 1e-4
is in float32, and is rounded by 6e-8."""

IN_SINGLE = 2e-7
"""The same where all of M2L is in float32, and for vectors alone and among others."""

FAMILIES = 0.1
"""What M2L multiplies depends on the directions in which families lie, and on how many of their children there are.
Planning counts with all directions alike, and works with those there are."""

WORKS = 0.2
"""Relative: what is known of works alone may change the counted seconds of an operator, as boxes share halos."""

CONVERGES = 0.3
"""Two orders more divide the errors of expansions by 6 (a Gaussian as wide as a box) to 70 (1 / r); where they do not
converge, by less than 2."""

PERIODIC_DIRECT = 1e-11
"""The direct sum in a periodic box, whose far images go through expansions of order 16: they err by 3e-13, and by ten
times as much where little is left of potentials, as in crystals."""

EWALD = 1e-11
"""The same against textbook sums, which are cut where terms are 1e-17 and have some thousands of them."""
