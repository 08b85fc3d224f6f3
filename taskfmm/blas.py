"""The one BLAS call that NumPy's interface cannot say: a matrix product added to what is there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import overload
from numba.np.linalg import _BLAS, ensure_blas, get_blas_kind


def add_product(a: np.ndarray, b: np.ndarray, c: np.ndarray, one: np.ndarray) -> None:
    """``c += a @ b`` without a temporary.

    a : [m, k]; b : [k, n]; c : [m, n], all C-contiguous and of one dtype, float32 or float64
    one : [1], the number 1 in that dtype; BLAS wants its address
    """
    c += a @ b


@overload(add_product)
def _add_product(a: Any, b: Any, c: Any, one: Any) -> Any:
    ensure_blas()
    gemm = _BLAS().numba_xxgemm(a.dtype)
    kind = ord(get_blas_kind(a.dtype))
    plain = ord("n")

    def body(a, b, c, one):  # type: ignore[no-untyped-def]
        m, k = a.shape
        n = b.shape[1]
        # BLAS is column-major: it sees transposes, so c^T = b^T a^T
        gemm(kind, plain, plain, n, m, k, one.ctypes, b.ctypes, n, a.ctypes, k, one.ctypes, c.ctypes, n)

    return body
