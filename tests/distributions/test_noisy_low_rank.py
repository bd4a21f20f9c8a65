import pytest
import torch

from learnscope.distributions.noisy_low_rank import noisy_low_rank
from learnscope.errors import InputError
from learnscope.randomness import generator as named


def test_entries_of_both_have_variance_one_and_no_correlation():
    signal, noise = noisy_low_rank(30, 3, named("moments"), (500,))
    # signal² of one pair is correlated along rows and columns: 500 pairs give the mean to about 0.02
    assert float(signal.square().mean()) == pytest.approx(1, abs=0.06)
    assert float(noise.square().mean()) == pytest.approx(1, abs=0.01)
    assert float((signal * noise).mean()) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_the_signal_has_its_rank(rank):
    values = torch.linalg.svdvals(noisy_low_rank(9, rank, named("rank"), (3,)).signal)
    assert bool((values[:, :rank] > 1e-3).all())
    assert bool((values[:, rank:] < 1e-12).all())


def test_singular_values_are_where_theory_has_them():
    signal, noise = noisy_low_rank(400, 2, named("values"))
    torch.testing.assert_close(
        torch.linalg.svdvals(signal)[:2], torch.full((2,), 400 / 2**0.5).double(), rtol=0.15, atol=0
    )
    assert float(torch.linalg.matrix_norm(noise, ord=2)) == pytest.approx(2 * 400**0.5, rel=0.05)


def test_the_best_approximation_of_its_rank_leaves_the_noise_on_its_singular_vectors():
    drawn = noisy_low_rank(200, 3, named("truncated"), (4,))
    U, s, Vh = torch.linalg.svd(drawn.target)
    error = (U[..., :3] * s[..., None, :3]) @ Vh[..., :3, :] - drawn.signal
    assert float(error.square().mean()) == pytest.approx(2 * 3 / 200, rel=0.1)


def test_the_target_is_the_sum_in_the_dtype_asked_for():
    drawn = noisy_low_rank(5, 2, named("dtype"), (2,), dtype=torch.float32)
    assert drawn.target.dtype == torch.float32
    assert torch.equal(drawn.target, drawn.signal + drawn.noise)


@pytest.mark.parametrize("rank", [0, 6])
def test_says_in_a_sentence_that_there_is_no_such_rank(rank):
    with pytest.raises(InputError, match=f"rank is {rank}, but a matrix of 5 × 5"):
        noisy_low_rank(5, rank, named("wrong"))
