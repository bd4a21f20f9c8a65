"""Low rank, entries of mean square 1, and as many entries seen as asked for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.distributions.matrix_completion import low_rank_matrix, observed_entries
from learnscope.errors import InputError
from learnscope.randomness import generator


@given(st.integers(2, 12), st.integers(2, 12), st.data())
@settings(max_examples=30, deadline=None)
def test_matrices_have_the_rank_and_the_size_that_is_asked_for(rows, columns, data):
    rank = data.draw(st.integers(1, min(rows, columns)))
    matrices = low_rank_matrix((rows, columns), rank, generator("rank", rows, columns), (3,))
    assert matrices.shape == (3, rows, columns)
    assert torch.linalg.matrix_rank(matrices).tolist() == [rank] * 3
    torch.testing.assert_close(matrices.square().mean((-2, -1)), torch.ones(3, dtype=torch.float64))


@given(st.integers(1, 8), st.integers(1, 8), st.data())
@settings(max_examples=30, deadline=None)
def test_as_many_entries_are_seen_as_asked_for(rows, columns, data):
    n_train = data.draw(st.integers(0, rows * columns))
    seen = observed_entries((rows, columns), n_train, generator("seen"), (2, 3))
    assert seen.shape == (2, 3, rows, columns)
    assert seen.dtype == torch.bool
    assert (seen.sum((-2, -1)) == n_train).all()


def test_every_entry_is_seen_equally_often():
    seen = observed_entries((4, 5), 6, generator("share"), (4000,)).double().mean(0)
    assert seen.flatten().tolist() == pytest.approx([0.3] * 20, abs=5 * (0.3 * 0.7 / 4000) ** 0.5)


@pytest.mark.parametrize("rank", [0, 4])
def test_a_rank_out_of_range_is_told(rank):
    with pytest.raises(InputError, match=f"rank is {rank}, but a matrix of 3 × 5 has a rank from 1 to 3"):
        low_rank_matrix((3, 5), rank, generator())


@pytest.mark.parametrize("n_train", [-1, 16])
def test_too_many_entries_are_told(n_train):
    with pytest.raises(InputError, match=f"n_train is {n_train}, but a matrix of 3 × 5 has 15 entries"):
        observed_entries((3, 5), n_train, generator())
