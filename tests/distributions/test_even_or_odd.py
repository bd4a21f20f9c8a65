"""Splits of digits by parity are disjoint, labelled rightly, and have both labels."""

import pytest
import torch

from learnscope.distributions.even_or_odd import even_or_odd
from learnscope.distributions.images import digits
from learnscope.errors import InputError

ALL = torch.cat([digits().y_train, digits().y_test])


def test_labels_tell_parity_and_images_are_centred(generator):
    sample = even_or_odd(digits(), 900, 897, generator)
    assert torch.equal(sample.y == 1, sample.digits % 2 == 0)
    assert torch.equal(sample.y_test == 1, sample.digits_test % 2 == 0)
    pixels = torch.cat([sample.x, sample.x_test])
    assert float(pixels.mean(0).abs().max()) < 1e-5
    assert float(pixels.square().mean()) == pytest.approx(1.0)


def test_no_image_is_in_both_parts(generator):
    sample = even_or_odd(digits(), 900, 897, generator)
    pixels = torch.cat([sample.x, sample.x_test]).flatten(1)
    stored = torch.cat([digits().x_train, digits().x_test]).flatten(1)
    assert len(pixels.unique(dim=0)) == len(stored.unique(dim=0))


def test_two_images_have_different_labels_and_draws_without_are_counted():
    redrawn = []
    for seed in range(20):
        sample = even_or_odd(digits(), 2, 1, torch.Generator().manual_seed(seed))
        assert sorted(sample.y.tolist()) == [-1.0, 1.0]
        random, again = torch.Generator().manual_seed(seed), 0
        while len({int(label) % 2 for label in ALL[torch.randperm(len(ALL), generator=random)[:2]]}) == 1:
            again += 1
        assert sample.redrawn == again
        redrawn.append(again)
    assert max(redrawn) > 0


@pytest.mark.parametrize(("n_train", "n_test"), [(1, 10), (10, 0), (1000, 1000)])
def test_sizes_that_the_set_does_not_have_are_refused(n_train, n_test, generator):
    with pytest.raises(InputError, match="digits has 1797"):
        even_or_odd(digits(), n_train, n_test, generator)
