"""Steps of a symmetric eigendecomposition: equal to NumPy's, and side by side on threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from learnscope.observables.tridiagonal import tridiagonal, tridiagonal_eigenvectors


def symmetric(n, seed=0):
    matrix = np.random.default_rng(seed).standard_normal((n, n))
    return np.asfortranarray(matrix + matrix.T)


def as_matrix(diagonal, beside):
    return np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)


@given(n=st.integers(2, 90), seed=st.integers(0, 5))
def test_reflectors_turn_the_tridiagonal_matrix_into_the_given_one(n, seed):
    matrix = symmetric(n, seed)
    given = matrix.copy()
    matrix[np.triu_indices(n, 1)] = np.nan  # what must not count
    reflectors, diagonal, beside, factors = tridiagonal(matrix)
    turn = torch.eye(n, dtype=torch.float64)
    turn[1:] = torch.ormqr(torch.from_numpy(reflectors[1:, :-1]), torch.from_numpy(factors), turn[1:])
    Q = turn.numpy()
    assert_allclose(Q @ Q.T, np.eye(n), atol=1e-13)
    assert_allclose(Q @ as_matrix(diagonal, beside) @ Q.T, given, atol=1e-12)
    assert_allclose(np.tril(matrix), np.tril(given))


@given(n=st.integers(1, 90), seed=st.integers(0, 5))
def test_eigenvectors_are_those_of_numpy(n, seed):
    rng = np.random.default_rng(seed)
    diagonal, beside = rng.standard_normal(n), rng.standard_normal(n - 1)
    before = diagonal.copy(), beside.copy()
    values, vectors = tridiagonal_eigenvectors(diagonal, beside)
    matrix = as_matrix(diagonal, beside)
    assert_allclose(values, np.linalg.eigvalsh(matrix), atol=1e-13)
    assert_allclose(matrix @ vectors, vectors * values, atol=1e-12)
    assert_allclose(vectors.T @ vectors, np.eye(n), atol=1e-13)
    assert_allclose(diagonal, before[0])
    assert_allclose(beside, before[1])


@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1e-8, 1.0, 1e8]], ids=str)
def test_eigenvalues_that_coincide_or_lie_far_apart(values):
    found, vectors = tridiagonal_eigenvectors(np.array(values), np.zeros(2))
    assert_allclose(found, values, rtol=0, atol=1e-15 * max(values))
    assert_allclose(np.abs(vectors), np.eye(3), atol=1e-15)


def test_numbers_that_are_not_finite_are_said_not_to_converge():
    with pytest.raises(np.linalg.LinAlgError, match="finite"):
        tridiagonal_eigenvectors(np.array([np.nan, 1.0, 2.0]), np.ones(2))


def test_another_thread_computes_meanwhile():
    matrix, began, done, turns = symmetric(700), threading.Event(), threading.Event(), 0

    def decompose():
        began.set()
        tridiagonal(matrix)
        done.set()

    thread = threading.Thread(target=decompose)
    thread.start()
    began.wait()
    while not done.is_set():
        turns += 1
    thread.join()
    assert turns > 100  # were Python's lock kept, there would be next to none
