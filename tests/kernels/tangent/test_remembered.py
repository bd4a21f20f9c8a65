import gc
import weakref

import pytest
import torch
from torch import nn

from learnscope.errors import InputError
from learnscope.kernels.tangent import reference, remembered, tangent_kernel
from learnscope.kernels.tangent.remembered import remembered_plan


@pytest.fixture
def planned(monkeypatch):
    """Return a list that grows by one whenever a plan is made, rather than remembered."""
    made, make = [], remembered.make_plan
    monkeypatch.setattr(remembered, "make_plan", lambda *all_: made.append(all_) or make(*all_))
    return made


@pytest.fixture
def x(generator):
    return torch.randn(6, 2, 5, generator=generator, dtype=torch.float64)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)).double().eval()


def test_the_same_network_is_planned_once_and_its_parameters_are_followed(planned, x):
    model = network()
    for _ in range(3):
        torch.testing.assert_close(tangent_kernel(model, x), reference.tangent_kernel(model, x))
        with torch.no_grad():
            model[0].weight.mul_(2)
    assert len(planned) == 1


def freeze(model):
    model[0].weight.requires_grad_(False)


def dilate(model):
    model[0].dilation, model[3] = (2,), nn.Linear(9, 2).double()


def hook(model):
    model[3].register_forward_hook(lambda module, inputs, output: output.square())


def patch(model):
    model[1].forward = torch.tanh


def wrap(model):
    class Squared(nn.ReLU):
        def forward(self, input):
            return super().forward(input).square()

    model[1] = Squared()


def pad(model):
    model[0].padding_mode = "circular"


def train(model):
    model.train()


@pytest.mark.filterwarnings("ignore::learnscope.errors.LeftOutWarning")
@pytest.mark.parametrize("change", [freeze, dilate, hook, patch, wrap, pad, train])
def test_a_network_that_was_changed_is_planned_again(change, planned, x):
    model = network()
    tangent_kernel(model, x)
    change(model)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    truth = reference.tangent_kernel(model, x, parameters=trained)
    torch.testing.assert_close(tangent_kernel(model, x), truth)
    assert len(planned) == 2


@pytest.mark.parametrize(
    "options",
    [{"outputs": "trace"}, {"outputs": 1}, {"parameters": "0"}, {"parameters": ["3.bias"]}, {"method": "jacobian"}],
)
def test_what_else_is_wanted_is_planned_again(options, planned, x):
    model = network()
    remembered_plan(model, x, "all")
    remembered_plan(model, x, **({"outputs": "all"} | options))
    assert len(planned) == 2
    remembered_plan(model, x, **({"outputs": "all"} | options))
    assert len(planned) == 2


def test_other_inputs_are_planned_again(planned, x):
    model = network()
    for inputs in (x, x + 1, x[:4], torch.cat([x, x])):
        remembered_plan(model, inputs, "all")
    assert len(planned) == 3  # of 6, 4 and 12 examples


def test_what_only_a_look_tells_is_looked_at_each_time(planned, x):
    class Own(nn.Sequential):
        twice = False

        def forward(self, input):
            return super().forward(input) * (2 if self.twice else 1)

    model = Own(*network())
    tangent_kernel(model, x)
    model.twice = True
    torch.testing.assert_close(tangent_kernel(model, x), reference.tangent_kernel(model, x))
    for _ in range(2):
        tangent_kernel(network(), x, outputs=lambda f: f[:, 0])
        tangent_kernel(network(), x, parameters=lambda name, parameter: name == "3.bias")
    assert len(planned) == 6


def test_a_module_called_twice_is_looked_at_each_time(planned, x):
    shared = nn.Linear(5, 5).double()
    model = nn.Sequential(shared, nn.Tanh(), shared)
    for _ in range(2):
        torch.testing.assert_close(tangent_kernel(model, x), reference.tangent_kernel(model, x))
    assert len(planned) == 2


def test_inputs_that_the_proof_fails_on_leave_no_plan(planned, x):
    model = network()
    remembered_plan(model, torch.full_like(x, torch.nan), "all")
    assert not remembered_plan(model, x, "all").rest
    assert len(planned) == 2


def test_a_plan_keeps_no_network_alive(x):
    model = network()
    tangent_kernel(model, x)
    seen = weakref.ref(model)
    del model
    gc.collect()
    assert seen() is None


def test_wrong_arguments_are_refused_as_ever(x):
    model = network()
    for _ in range(2):
        with pytest.raises(InputError, match="outputs=7 is out of range"):
            tangent_kernel(model, x, outputs=7)
        with pytest.raises(InputError, match="no inputs"):
            tangent_kernel(model, x[:0])
