"""The loss of a stack, who is at work, and who has left."""

import threading
import time

import pytest
import torch

from learnscope.dynamics.stack import SquaredError, Stack
from learnscope.errors import InputError
from learnscope.networks.deep_linear import gaussian_factors
from learnscope.randomness import generator

ZERO = SquaredError(torch.zeros(2, 2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(4, 3), (5, 4, 3)])
def test_the_gradient_of_the_loss_is_that_of_autograd(shape):
    target, weight = (torch.rand(shape, generator=generator(name), dtype=torch.float64) for name in "tw")
    matrix = torch.randn(5, 4, 3, generator=generator("a"), dtype=torch.float64, requires_grad=True)
    loss = SquaredError(target, weight)
    (expected,) = torch.autograd.grad(loss.value(matrix).sum(), matrix)
    before = matrix.detach().clone()
    torch.testing.assert_close(loss.gradient(matrix.detach()), expected)
    assert torch.equal(matrix, before)


def test_some_members_have_the_loss_that_they_had():
    target = torch.randn(5, 4, 3, generator=generator("t"), dtype=torch.float64)
    loss = SquaredError(target, torch.ones(4, 3, dtype=torch.float64))
    matrix = torch.randn(5, 4, 3, generator=generator("a"), dtype=torch.float64)
    places = torch.tensor([3, 1])
    torch.testing.assert_close(loss.of(places).value(matrix[places]), loss.value(matrix)[places])


def test_members_that_are_released_keep_their_last_state():
    factors, rates = gaussian_factors((2, 3, 2), 1.0, generator("f"), (4,)), torch.tensor([0.1, 0.2, 0.3, 0.4])
    stack = Stack(factors, ZERO, rates, 0.0)
    (block,) = stack.blocks
    stay = block.release(torch.tensor([1.0, 0.4, 0.5, 2.0]), 0.5)
    assert stay.tolist() == [0, 3]
    assert block.converged.tolist() == [False, True, True, False]
    torch.testing.assert_close(block.learning_rate.flatten(), rates.double()[stay])
    block.move([torch.ones_like(factor) for factor in block.factors])
    block.settle()
    for whole, factor in zip(stack.whole, factors, strict=True):
        assert torch.equal(whole[[1, 2]], factor[[1, 2]])
        assert not torch.isclose(whole[stay], factor[stay]).any()
    assert stack.outcome(torch.tensor([]), {}).n_steps.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_members_that_are_not_finite_are_released_but_did_not_converge(value):
    (block,) = Stack([torch.ones(2, 1, 1)], ZERO, 0.1, 0.0).blocks
    assert block.release(torch.tensor([1.0, value]), 0.5).tolist() == [0]
    assert not block.converged.any()


def test_large_members_are_split_into_blocks_that_share_the_whole():
    factors = gaussian_factors((300, 300), 1.0, generator("large"), (3,))
    loss = SquaredError(torch.zeros(3, 300, 300), torch.ones(300, 300))
    stack = Stack(factors, loss, torch.tensor([0.1, 0.2, 0.3]), 0.0)
    assert [len(block.members) for block in stack.blocks] == [1, 1, 1]
    for block in stack.blocks:
        block.move([torch.ones_like(factor) for factor in block.factors])
    moved = (factors[0] - stack.whole[0]).amax((-2, -1))
    assert moved.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert len(Stack(factors, loss, 0.1, 0.0, at_once=True).blocks) == 1


@pytest.mark.parametrize(
    ("shape", "rate", "told"),
    [
        ((2, 2), 0.1, "give \\[members, d_l"),
        ((3, 2, 2), torch.ones(2), r"learning_rate has shape \(2,\); give one number, or 3"),
    ],
)
def test_bad_input_is_told(shape, rate, told):
    with pytest.raises(InputError, match=told):
        Stack([torch.ones(shape)], ZERO, rate, 0.0)


@pytest.mark.usefixtures("_three_threads")
def test_blocks_are_spread_over_threads_which_torch_gets_back():
    factors = gaussian_factors((200, 200), 1.0, generator("large"), (8,))
    stack = Stack(factors, SquaredError(torch.zeros(200, 200), torch.ones(200, 200)), 0.1, 0.0)
    assert sorted(len(block.members) for block in stack.blocks) == [2, 3, 3]
    used = set()

    def step(block):
        used.add(threading.get_ident())
        assert torch.get_num_threads() == 1
        block.move([torch.ones_like(factor) for factor in block.factors])
        time.sleep(0.01)

    stack.watch(step, 4, {}, [2])
    assert threading.get_ident() not in used
    assert len(used) > 1
    assert torch.get_num_threads() == 3
    assert stack.outcome(torch.tensor([]), {}).n_steps.tolist() == [4] * 8
    torch.testing.assert_close(stack.whole[0], factors[0] - 0.4)


@pytest.mark.usefixtures("_three_threads")
def test_what_a_step_raises_ends_all_blocks():
    factors = gaussian_factors((300, 300), 1.0, generator("large"), (8,))
    stack = Stack(factors, SquaredError(torch.zeros(300, 300), torch.ones(300, 300)), 0.1, 0.0)
    failing = stack.blocks[1]

    def step(block):
        if block is failing:
            raise RuntimeError("no more")
        block.taken += 1
        time.sleep(0.001)

    with pytest.raises(RuntimeError, match="no more"):
        stack.watch(step, 10**9, {}, [])
    assert torch.get_num_threads() == 3
