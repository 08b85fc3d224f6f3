"""Kernels of which a user has but a function."""

import numba
import numpy as np


@numba.njit
def falling(dx, dy, dz, parameters):
    """1 / (r^2 + a^2), with a the only parameter."""
    return 1.0 / (dx * dx + dy * dy + dz * dz + parameters[0] * parameters[0])


@numba.njit
def slope(dx, dy, dz, parameters):
    """Its gradient."""
    value = falling(dx, dy, dz, parameters)
    return -2.0 * dx * value * value, -2.0 * dy * value * value, -2.0 * dz * value * value


def plain(dx, dy, dz):
    """Not compiled by the user, and of degree 1."""
    return np.sqrt(dx * dx + dy * dy + dz * dz)
