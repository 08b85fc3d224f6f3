"""The BLAS calls that NumPy's interface cannot say: matrix products added to what is there."""

from __future__ import annotations

import numpy as np
from numba.extending import overload
from numba.np.linalg import _BLAS, ensure_blas, get_blas_kind

PLAIN, TRANSPOSED = ord("n"), ord("t")


def product(a: np.ndarray, b: np.ndarray, c: np.ndarray, factors: np.ndarray) -> None:
    """``c = a @ b + factors[1] * c`` without a temporary.

    a : [m, k]; b : [k, n]; c : [m, n], of one dtype, float32 or float64. The numbers of a row lie side by side, rows
        need not
    factors : [2], the number 1 and, in the same dtype, 1 to add to c or 0 to overwrite it; BLAS wants their address
    """
    c[:] = a @ b + c if factors[1] else a @ b


def add_by_rows(tile: np.ndarray, vectors: np.ndarray, out: np.ndarray, one: np.ndarray) -> None:
    """``out += vectors @ tile.T``: what the columns of a tile do to its rows.

    tile : [m, k]; vectors : [n, k]; out : [n, m], of one dtype, float32 or float64. The numbers of a row lie side by
        side, rows need not
    one : [1], the number 1 in that dtype
    """
    out += vectors @ tile.T


def add_by_columns(tile: np.ndarray, vectors: np.ndarray, out: np.ndarray, factor: np.ndarray) -> None:
    """``out += factor * vectors @ tile``: what the rows of a tile do to its columns.

    tile : [m, k]; vectors : [n, m]; out : [n, k], as in `add_by_rows`; factor : [1]
    """
    out += factor[0] * (vectors @ tile)


# BLAS takes columns for rows: it sees the transposes of all matrices.


@overload(product)
def _product(a, b, c, factors):  # type: ignore[no-untyped-def]
    ensure_blas()
    gemm = _BLAS().numba_xxgemm(a.dtype)
    kind = ord(get_blas_kind(a.dtype))

    def body(a, b, c, factors):  # type: ignore[no-untyped-def]
        m, k = a.shape
        n = b.shape[1]
        rows = _between_rows(a), _between_rows(b), _between_rows(c)
        data = factors.ctypes, b.ctypes, a.ctypes, factors[1:].ctypes, c.ctypes
        # c^T = b^T a^T
        gemm(
            kind,
            PLAIN,
            PLAIN,
            n,
            m,
            k,
            data[0],
            data[1],
            rows[1],
            data[2],
            rows[0],
            data[3],
            data[4],
            rows[2],
        )

    return body


@overload(add_by_rows)
def _add_by_rows(tile, vectors, out, one):  # type: ignore[no-untyped-def]
    ensure_blas()
    gemm = _BLAS().numba_xxgemm(tile.dtype)
    kind = ord(get_blas_kind(tile.dtype))

    def body(tile, vectors, out, one):  # type: ignore[no-untyped-def]
        m, k = tile.shape
        a, b, c = _between_rows(tile), _between_rows(vectors), _between_rows(out)
        data = one.ctypes, tile.ctypes, vectors.ctypes, out.ctypes
        gemm(
            kind, TRANSPOSED, PLAIN, m, len(vectors), k, data[0], data[1], a, data[2], b, data[0], data[3], c
        )

    return body


@overload(add_by_columns)
def _add_by_columns(tile, vectors, out, factor):  # type: ignore[no-untyped-def]
    ensure_blas()
    gemm = _BLAS().numba_xxgemm(tile.dtype)
    kind = ord(get_blas_kind(tile.dtype))

    def body(tile, vectors, out, factor):  # type: ignore[no-untyped-def]
        m, k = tile.shape
        a, b, c = _between_rows(tile), _between_rows(vectors), _between_rows(out)
        one = np.ones(1, tile.dtype)
        data = factor.ctypes, tile.ctypes, vectors.ctypes, one.ctypes, out.ctypes
        gemm(kind, PLAIN, PLAIN, k, len(vectors), m, data[0], data[1], a, data[2], b, data[3], data[4], c)

    return body


def _between_rows(array: np.ndarray) -> int:
    """Numbers from the begin of a row to that of the next."""
    return array.strides[0] // array.itemsize


@overload(_between_rows)
def _between(array):  # type: ignore[no-untyped-def]
    return lambda array: array.strides[0] // array.itemsize
