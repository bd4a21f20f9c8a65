"""Steps of a symmetric eigendecomposition by LAPACK, which leave Python's lock free while they compute.

SciPy's own functions keep it, so that threads would wait for each other. Here the same routines are called at the
addresses that SciPy publishes for compiled code (``scipy.linalg.cython_lapack``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

# Columns that LAPACK's blocked routines take at a time.
BLOCK = 64


def tridiagonal(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return reflectors Q and a tridiagonal T with matrix = Q T Qᵀ; only its lower triangle counts.

    Args:
        matrix: [n, n] float64, columns in one piece each; left as it is.

    Returns:
        [n, n] whose columns below the first subdiagonal are the reflectors, the diagonal [n] of T, what lies beside
        it [n - 1], and the factors [n - 1] of the reflectors, as LAPACK's ``ormqr`` takes them.

    Cost: 4/3 n³ operations, half of these in matrix products.

    Examples:
        >>> tridiagonal(np.array([[1.0, 2.0], [2.0, 5.0]], order="F"))[1].tolist()
        [1.0, 5.0]
    """
    n = len(matrix)
    reflectors = np.array(matrix, order="F")
    diagonal, beside, factors, work = np.empty(n), np.empty(n - 1), np.empty(n - 1), np.empty(BLOCK * n)
    _call("dsytrd", b"L", n, reflectors, n, diagonal, beside, factors, work, len(work))
    return reflectors, diagonal, beside, factors


def tridiagonal_eigenvectors(diagonal: np.ndarray, beside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues of a symmetric tridiagonal matrix, ascending, and its eigenvectors as columns.

    Args:
        diagonal: [n] float64.
        beside: [n - 1] float64.

    Raises:
        LinAlgError: when it does not converge, as for numbers that are not finite.

    Cost: O(n²) for the eigenvalues, up to 4/3 n³ multiplications for the vectors, by division (Cuppen 1981).

    Examples:
        >>> tridiagonal_eigenvectors(np.array([2.0, 2.0]), np.array([1.0]))[0].tolist()
        [1.0, 3.0]
    """
    n = len(diagonal)
    values, vectors = diagonal.copy(), np.empty((n, n), order="F")
    work, indices = np.empty(1 + 4 * n + n * n), np.empty(3 + 5 * n, dtype=np.intc)
    _call("dstevd", b"V", n, values, beside.copy(), vectors, n, work, len(work), indices, len(indices))
    return values, vectors


def _call(name: str, *values: Any) -> None:
    """Call a routine of LAPACK with arrays, integers and letters, and see that it succeeded."""
    passed = [_reference(value) for value in values]
    outcome = ctypes.c_int()
    _routine(name, len(values) + 1)(*passed, ctypes.byref(outcome))
    if outcome.value:
        raise np.linalg.LinAlgError(f"LAPACK's {name} did not converge: see that the matrix is finite")


def _reference(value: np.ndarray | int | bytes) -> Any:
    if isinstance(value, np.ndarray):
        return value.ctypes
    return ctypes.byref(ctypes.c_int(value) if isinstance(value, int) else ctypes.c_char(value))


@cache
def _routine(name: str, arguments: int) -> Callable[..., None]:
    """Return a function that SciPy publishes; ``ctypes`` frees Python's lock while it runs.

    Raises:
        ImportError: when it takes integers of another size than SciPy's have had so far.
    """
    capsule, api = import_module("scipy.linalg.cython_lapack").__pyx_capi__[name], ctypes.pythonapi
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    address_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", api))
    signature = name_of(capsule)
    if b" int *" not in signature:
        raise ImportError(f"SciPy's LAPACK has changed its integers ({signature.decode()}): use SciPy 1.17 or before")
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)(address_of(capsule, signature))
