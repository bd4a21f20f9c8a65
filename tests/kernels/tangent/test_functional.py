"""Jacobians through torch.func: taken where they are those of autograd, and left where they are not."""

import pytest
import torch
from torch import nn

from learnscope.kernels.tangent import functional
from learnscope.kernels.tangent.functional import jacobians, one_by_one
from learnscope.kernels.tangent.kernel import tangent_kernel
from learnscope.kernels.tangent.selection import Readout

ALL = Readout("all")


def names_of(model):
    return [name for name, _ in model.named_parameters()]


@pytest.fixture
def model(generator):
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 2)).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=generator)
    return model


def examples(n, d, generator):
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 3, 4, 9])
def test_they_are_those_of_the_definition_without_a_pass_for_each(n, model, generator, monkeypatch):
    x = examples(n, 3, generator)
    truth = one_by_one(model, x, ALL, names_of(model))
    monkeypatch.setattr(functional, "one_by_one", None)
    for name, ours in jacobians(model, x, ALL, names_of(model)).items():
        torch.testing.assert_close(ours, truth[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("outputs", ["all", "trace", "sum"])
@pytest.mark.parametrize("method", ["auto", "layerwise", "jacobian", "functional"])
def test_as_many_outputs_as_examples_into_a_prelu_which_pytorch_transforms_wrongly(outputs, method, generator):
    model = nn.Sequential(nn.Linear(5, 4), nn.PReLU(4)).double()
    x1, x2 = examples(6, 5, generator), examples(4, 5, generator)
    rows = [torch.cat(list(one_by_one(model, x, ALL, names_of(model)).values()), -1) for x in (x1, x2)]
    whole = torch.einsum("nop,mqp->nmoq", *rows)
    truth = {"all": whole, "trace": whole.diagonal(dim1=2, dim2=3).sum(-1), "sum": whole.sum((2, 3))}[outputs]
    torch.testing.assert_close(tangent_kernel(model, x1, x2, outputs=outputs, method=method), truth)


@pytest.mark.parametrize("wrong", ["one example", "one parameter", "sign", "not finite"])
def test_wrong_ones_are_not_taken(wrong, model, generator, monkeypatch):
    x, names, transformed = examples(4, 3, generator), names_of(model), functional._transformed

    def failing(*arguments):
        found = transformed(*arguments)
        if wrong == "one example":
            found[names[0]][2] = found[names[0]][1]
        elif wrong == "one parameter":
            found[names[1]].zero_()
        elif wrong == "sign":
            found[names[2]].neg_()
        else:
            found[names[3]][0, 0] = torch.nan
        return found

    monkeypatch.setattr(functional, "_transformed", failing)
    truth = one_by_one(model, x, ALL, names)
    for name, ours in jacobians(model, x, ALL, names).items():
        torch.testing.assert_close(ours, truth[name], rtol=1e-12, atol=1e-12)


def test_what_is_known_of_a_shape_is_not_looked_at_again(model, generator, monkeypatch):
    names, known = names_of(model), {}
    jacobians(model, examples(4, 3, generator), ALL, names, known)
    assert known == {(4, 3): True}
    looked = []
    monkeypatch.setattr(functional, "_are_right", lambda found, model, x, readout: looked.append(len(x)))
    jacobians(model, examples(4, 3, generator), ALL, names, known)
    assert looked == []
    for x in (examples(5, 3, generator), examples(8, 3, generator).view(4, 2, 3)):  # other numbers, and other shapes
        jacobians(model, x, ALL, names, known)  # what stands for the look tells nothing
    assert (looked, known) == ([5, 4], {(4, 3): True})


def test_what_is_known_to_be_transformed_wrongly_is_not_transformed(generator, monkeypatch):
    model, known = nn.Sequential(nn.Linear(5, 4), nn.PReLU(4)).double(), {}
    for x in (examples(4, 5, generator), examples(4, 5, generator)):
        truth = one_by_one(model, x, ALL, names_of(model))
        for name, ours in jacobians(model, x, ALL, names_of(model), known).items():
            torch.testing.assert_close(ours, truth[name])
        assert known == {(4, 5): False}
        monkeypatch.setattr(functional, "_transformed", None)


def test_nan_in_the_model_takes_no_pass_for_each_scalar(model, generator, monkeypatch):
    monkeypatch.setattr(functional, "one_by_one", None)
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    assert jacobians(model, examples(5, 3, generator), ALL, names_of(model))["3.weight"].isnan().any()


def test_parameters_that_the_outputs_do_not_hang_on_have_zero_jacobians(generator, monkeypatch):
    monkeypatch.setattr(functional, "one_by_one", None)
    model = nn.ModuleDict({"used": nn.Linear(3, 2), "idle": nn.Linear(3, 2)}).double()
    model.forward = lambda x: model["used"](x)
    found = jacobians(model, examples(5, 3, generator), ALL, names_of(model))
    assert not found["idle.weight"].any()
    assert found["used.weight"].any()
