"""Vortices w, with the vector potential w / 4 pi r and its curl, the velocity: expansions are those of 1 / r."""

import numpy as np

from taskfmm.jit import formula
from taskfmm.kernels import KERNELS
from taskfmm.kernels.kernel import Kernel, Output, Source

KERNEL = Kernel(
    "vortices",
    __name__,
    1 / (4 * np.pi),
    -1,
    sources=(Source("vorticity", 3, argument="vorticity", vector=True),),
    outputs=(Output("potential", (3,)), Output("velocity", (3,), 1, odd=True)),
    expansion=KERNELS["laplace"],
    columns=3,
)


@formula
def vorticity(dx, dy, dz, wx, wy, wz, parameters):
    r2 = dx * dx + dy * dy + dz * dz
    inverse = 1.0 / np.sqrt(r2) if r2 > 0.0 else 0.0
    cube = inverse * inverse * inverse
    velocity = cube * (wy * dz - wz * dy), cube * (wz * dx - wx * dz), cube * (wx * dy - wy * dx)
    return inverse * wx, inverse * wy, inverse * wz, velocity[0], velocity[1], velocity[2]


@formula
def vorticity_columns(dx, dy, dz, wx, wy, wz, parameters):
    r2 = dx * dx + dy * dy + dz * dz
    inverse = 1.0 / np.sqrt(r2) if r2 > 0.0 else 0.0
    return inverse * wx, inverse * wy, inverse * wz


@formula
def columns(dx, dy, dz, ax, ay, az, parameters):
    return vorticity(dx, dy, dz, ax, ay, az, parameters)
