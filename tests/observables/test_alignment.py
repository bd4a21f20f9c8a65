"""Alignment is the cosine between a kernel and that of the labels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.errors import InputError
from learnscope.observables.alignment import alignment, label_targets
from learnscope.observables.reference import alignment as reference
from learnscope.observables.similarity import cka
from learnscope.randomness import generator

random = generator("test alignment")


def gram(n: int, rank: int) -> torch.Tensor:
    x = torch.randn(n, rank, generator=random, dtype=torch.float64) + 1
    return x @ x.T


LABELS = {
    "two classes": torch.tensor([3, 7, 7, 3, 3, 3, 7, 7, 3]),
    "five classes": torch.tensor([0, 1, 2, 3, 4, 4, 4, 1, 0]),
    "plus and minus one": torch.tensor([1.0, -1, 1, 1, -1, -1, -1, 1, 1]),
    "targets": torch.randn(9, 2, generator=random),
}


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("y", LABELS.values(), ids=LABELS.keys())
def test_equals_the_definition(y, centred):
    kernel = gram(9, 4)
    expected = reference.alignment(kernel.numpy(), y.numpy(), centred=centred)
    assert float(alignment(kernel, y, centred=centred)) == pytest.approx(expected)


@given(st.integers(2, 12), st.integers(1, 6), st.booleans(), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_scale_and_order_do_not_matter_and_the_ideal_kernel_reads_one(n, rank, centred, seed):
    draws = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, rank, generator=draws, dtype=torch.float64), torch.arange(n) % 2
    order = torch.randperm(n, generator=draws)
    value = alignment(x @ x.T, y, centred=centred)
    assert -1e-9 <= float(value) <= 1 + 1e-9
    torch.testing.assert_close(value, alignment(7 * x[order] @ x[order].T, y[order], centred=centred))
    ideal = label_targets(y, n) @ label_targets(y, n).T
    assert float(alignment(ideal, y, centred=centred)) == pytest.approx(1)


def test_several_kernels_at_once():
    kernels, y = torch.stack([gram(9, 3), gram(9, 5)]), LABELS["five classes"]
    torch.testing.assert_close(alignment(kernels, y), torch.stack([alignment(k, y) for k in kernels]))


def test_centred_is_the_biased_centred_kernel_alignment_of_features_with_targets():
    x, y = torch.randn(20, 5, generator=random), torch.arange(20) % 3
    expected = cka(x, label_targets(y, 20), debiased=False)
    torch.testing.assert_close(alignment(x @ x.T, y, centred=True), expected, rtol=1e-5, atol=1e-7)


def test_a_constant_kernel_is_aligned_with_one_sided_labels_only_before_centring():
    ones, y = torch.ones(8, 8), torch.tensor([1.0] * 7 + [-1.0])
    assert float(alignment(ones, y)) == pytest.approx(36 / 64)
    assert bool(alignment(ones, y, centred=True).isnan())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64])
def test_other_precisions(dtype):
    kernel = (100 * gram(9, 4)).to(dtype)
    y = LABELS["two classes"]
    assert float(alignment(kernel, y)) == pytest.approx(reference.alignment(kernel.double().numpy(), y.numpy()))


def test_missing_for_one_class_zero_kernels_and_nan():
    kernel = gram(4, 2)
    kernel_with_nan = kernel.clone()
    kernel_with_nan[1, 2] = torch.nan
    y = torch.tensor([0, 1, 0, 1])
    assert bool(alignment(kernel, torch.ones(4, dtype=torch.int64)).isnan())
    assert bool(alignment(torch.zeros(4, 4), y).isnan())
    assert bool(alignment(kernel_with_nan, y).isnan())


def test_classes_are_corners_of_a_simplex():
    targets = label_targets(torch.arange(6) % 3, 6)
    products = (targets @ targets.T).numpy()
    np.testing.assert_allclose(products, reference.ideal_kernel(np.arange(6) % 3))


@pytest.mark.parametrize(
    ("kernel", "y", "message"),
    [
        (torch.ones(3, 2), torch.arange(3), "needed"),
        (torch.ones(0, 0), torch.arange(0), "needed"),
        (torch.eye(3), torch.arange(4), "labels of shape"),
        (torch.eye(3), torch.ones(4), "targets of shape"),
        (torch.eye(3), torch.arange(3) * 1j, "complex"),
    ],
)
def test_bad_input_is_explained(kernel, y, message):
    with pytest.raises(InputError, match=message):
        alignment(kernel, y)
