"""The promise that matters most: looking changes nothing."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

import learnscope as ls
from learnscope.observables import default
from learnscope.scope import schedules
from learnscope.scope.isolation import undisturbed
from learnscope.scope.scope import Scope


class Raising:
    """An observable that draws random numbers, then fails."""

    name, needs = "raising", frozenset({"activations"})

    def applies_to(self, task):
        return True

    def measure(self, state):
        torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
        raise RuntimeError("an observable failed")


class Noisy(nn.Module):
    """Dropout, BatchNorm, a frozen layer, a buffer that counts forward passes, and noise from a generator of its "
    "own."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.4)
        self.act = nn.ReLU(inplace=True)
        self.frozen_norm = nn.BatchNorm1d(144).eval()
        self.head = nn.Linear(144, 3)
        self.register_buffer("passes", torch.zeros(()))
        self.generator = torch.Generator().manual_seed(7)

    def forward(self, x):
        self.passes += 1
        h = self.drop(self.act(self.norm(self.conv(x)))).flatten(1)
        h = h + 0.01 * torch.randn(h.shape, generator=self.generator)
        return self.head(self.frozen_norm(h))


def trained(watched):
    """Train with shuffling, dropout and noise; return everything that training could have changed."""
    torch.manual_seed(0), np.random.seed(0), random.seed(0)  # noqa: NPY002
    x, y = torch.randn(48, 1, 8, 8), torch.arange(48) % 3
    model = Noisy()
    model.train()
    model.frozen_norm.eval()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=12, shuffle=True)
    observables = (*default(19, 144), Raising()) if watched else ()
    probe = (torch.from_numpy(np.random.default_rng(1).normal(size=(20, 1, 8, 8))).float(), torch.arange(20) % 3)
    scope = (
        Scope(model, probe, observables=observables, at=schedules.every(2), positions="flatten") if watched else None
    )
    modes = []
    for _ in range(3):
        for inputs, targets in loader:
            augmented = inputs + 0.1 * float(np.random.rand()) + 0.1 * random.random()  # noqa: NPY002
            loss = nn.functional.cross_entropy(model(augmented), targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if scope:
                scope.step(loss=loss)
            modes.append([m.training for m in model.modules()])
    gradients = [p.grad for p in model.parameters()]
    randoms = (torch.get_rng_state(), np.random.get_state()[1], random.getstate(), model.generator.get_state())  # noqa: NPY002
    hooks = [len(m._forward_hooks) for m in model.modules()]
    return scope, model.state_dict(), optimiser.state_dict()["state"], gradients, modes, randoms, hooks


def test_training_with_the_scope_is_bit_identical_to_training_without():
    scope, with_state, with_optimiser, with_gradients, with_modes, with_random, with_hooks = trained(watched=True)
    _, state, optimiser, gradients, modes, randoms, hooks = trained(watched=False)
    assert list(scope.failures) == ["raising"]
    assert scope.data.sizes["step"] == 7
    assert all(torch.equal(with_state[k], state[k]) for k in state)
    assert state["passes"] == 12
    for k in optimiser:
        assert all(torch.equal(with_optimiser[k][name], optimiser[k][name]) for name in optimiser[k])
    assert all(torch.equal(a, b) for a, b in zip(with_gradients, gradients, strict=True))
    assert with_modes == modes
    assert torch.equal(with_random[0], randoms[0])
    assert np.array_equal(with_random[1], randoms[1])
    assert with_random[2] == randoms[2]
    assert torch.equal(with_random[3], randoms[3])
    assert with_hooks == hooks


def test_everything_is_put_back_when_an_exception_passes():
    model = Noisy()
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt), undisturbed(model):
        assert not any(m.training for m in model.modules())
        assert not torch.is_grad_enabled()
        model(torch.randn(2, 1, 8, 8))
        raise KeyboardInterrupt
    assert model.training
    assert not model.frozen_norm.training
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), before.values(), strict=True))


def test_a_buffer_that_holds_nan_is_left_alone():
    model = nn.BatchNorm1d(2)
    assert isinstance(model.running_mean, torch.Tensor)
    model.running_mean.fill_(torch.nan)
    version = model.running_mean._version
    with undisturbed(model):
        pass
    assert model.running_mean._version == version


def test_measuring_between_forward_and_backward_does_not_break_the_graph(blobs, small_model):
    x, y = blobs
    scope = Scope(small_model, (x, y), at=schedules.every(1))
    loss = nn.functional.cross_entropy(small_model(x), y)
    scope.step()
    loss.backward()
    assert small_model[0].weight.grad is not None


def test_mixed_precision_is_measured_in_the_models_own_precision(blobs, small_model):
    x, y = blobs
    plain = Scope(small_model, (x, y)).data
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = Scope(small_model, (x, y)).data
        assert torch.is_autocast_enabled("cpu")
    assert plain.identical(mixed)


class Accumulating(nn.Module):
    """Writes into tensors that are no buffers, and holds a sparse one."""

    def __init__(self):
        super().__init__()
        self.head, self.sum, self.history = nn.Linear(6, 3), torch.zeros(6), [torch.zeros(6)]
        self.register_buffer("adjacency", torch.eye(6).to_sparse())
        self.rnn = nn.RNN(6, 6, batch_first=True)

    def forward(self, x):
        self.sum += x.detach().sum(0)
        self.history[0].add_(1)
        return self.head(self.rnn((self.adjacency @ x.T).T[:, None])[0][:, 0])


def test_tensors_that_are_no_buffers_are_put_back_too(blobs):
    model = Accumulating()
    scope = Scope(model, blobs)
    assert scope.failures == {}
    assert model.sum.abs().max() == 0
    assert model.history[0].abs().max() == 0


def test_the_caller_s_default_device_is_the_model_s_and_not_ours(small_model, blobs):
    class Making(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.made = small_model, []

        def forward(self, x):
            self.made.append(torch.ones(1).device.type)
            return self.inner(x)

    plain = Scope(Making(), blobs).data
    model = Making()
    torch.set_default_device("meta")
    try:
        scope = Scope(model, blobs)
        data = scope.data
        steps = ls.similarity(data, between="steps")
        assert torch.ones(1).device.type == "meta"
    finally:
        torch.set_default_device(None)
    assert scope.failures == {}
    assert set(model.made) == {"meta"}
    assert data.drop_attrs().equals(plain.drop_attrs())
    assert np.isfinite(steps.values).all()


def test_the_caller_s_own_hooks_run_on_the_probe(small_model, blobs):
    calls = []
    handle = small_model[0].register_forward_hook(lambda *arguments: calls.append(1))
    Scope(small_model, blobs)
    assert calls
    handle.remove()


@pytest.mark.parametrize("shape", [(1, 8, 8), (8,)])
def test_a_module_that_is_registered_twice_keeps_its_parameters(shape):
    images = len(shape) > 1
    first, twice = (nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)) if images else (nn.Linear(8, 4), nn.Linear(4, 4))
    model = nn.Sequential(first, nn.ReLU(), twice, nn.Tanh(), twice, nn.Flatten(), nn.Linear(16 if images else 4, 3))
    before = dict(model.named_parameters(remove_duplicate=False))
    scope = Scope(model, (torch.randn(24, *shape), torch.arange(24) % 3), at=schedules.every(1))
    scope.step()
    after = dict(model.named_parameters(remove_duplicate=False))
    assert all(after[name] is parameter for name, parameter in before.items())
    assert "tangent_kernel" not in scope.failures
