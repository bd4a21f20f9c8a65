import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learnscope.scope.probe import Probe, check_outputs, portions


@pytest.mark.parametrize(("outputs", "shape"), [(3, [3]), (1, [])])
def test_a_single_example_whose_dimension_was_squeezed_away_is_understood(outputs, shape):
    x = torch.randn(4, 6)
    probe = Probe(x, torch.arange(4) % 2)
    assert check_outputs(torch.zeros(shape), probe, 1).shape == (1, outputs)


@given(n=st.integers(4, 500), rows=st.integers(1, 60))
def test_portions_are_whole_small_enough_and_never_single(n, rows):
    bounds = list(portions(2, 2 + n, rows))
    sizes = [stop - start for start, stop in bounds]
    assert [i for start, stop in bounds for i in range(start, stop)] == list(range(2, 2 + n))
    assert max(sizes) <= rows
    assert max(sizes) - min(sizes) <= 1
    assert rows < 3 or min(sizes) > 1
