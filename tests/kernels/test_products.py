import pytest
import torch
from torch import nn

from learnscope.kernels.products import product, proven_way, transposed_product
from learnscope.kernels.tangent.functional import one_by_one
from learnscope.kernels.tangent.selection import Readout

ALL = Readout("all")


def names_of(model):
    return [name for name, _ in model.named_parameters()]


def tangent_of(model, generator):
    named = model.named_parameters()
    return {name: torch.randn(p.shape, generator=generator, dtype=torch.float64) for name, p in named}


@pytest.mark.parametrize("way", ["forward", "twice backward", "by rows"])
def test_every_way_to_a_product_is_the_jacobian_times_the_tangent(case, way, generator):
    model, x = case
    t = tangent_of(model, generator)
    rows = one_by_one(model, x.clone(), ALL, names_of(model))
    truth = sum(rows[name] @ t[name].flatten() for name in t)
    torch.testing.assert_close(product(model, x, ALL, t, way), truth, rtol=1e-10, atol=1e-11)


def test_the_transposed_product_is_a_weighted_sum_of_gradients(case, generator):
    model, x = case
    rows = one_by_one(model, x.clone(), ALL, names_of(model))
    u = torch.randn(next(iter(rows.values())).shape[:2], generator=generator, dtype=torch.float64)
    for name, ours in transposed_product(model, x, ALL, names_of(model), u).items():
        truth = torch.einsum("nk,nkp->p", u, rows[name])
        torch.testing.assert_close(ours.flatten(), truth, rtol=1e-10, atol=1e-11)


def test_forward_mode_serves_every_ordinary_network(case):
    model, x = case
    assert proven_way(model, x, ALL, names_of(model)) == "forward"


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("WithoutForwardMode", "twice backward"),
        ("DifferentiableOnce", "by rows"),
        ("WrongInForwardMode", "twice backward"),
    ],
)
def test_a_way_that_is_missing_or_wrong_is_not_taken(name, way, custom, generator):
    model, x = custom(name), torch.randn(5, 3, generator=generator, dtype=torch.float64)
    assert proven_way(model, x, ALL, names_of(model)) == way
    t = tangent_of(model, generator)
    rows = one_by_one(model, x, ALL, names_of(model))
    truth = sum(rows[name] @ t[name].flatten() for name in t)
    torch.testing.assert_close(product(model, x, ALL, t, way), truth)


def test_nan_in_the_model_reaches_the_products(generator):
    model, x = nn.Linear(3, 2).double(), torch.randn(4, 3, generator=generator, dtype=torch.float64)
    x[0, 0] = torch.nan
    way = proven_way(model, x, ALL, names_of(model))
    assert product(model, x, ALL, tangent_of(model, generator), way)[0].isnan().all()


def test_parameters_that_the_outputs_do_not_hang_on_have_zero_products(generator):
    model = nn.ModuleDict({"used": nn.Linear(3, 2), "idle": nn.Linear(3, 2)}).double()
    model.forward = lambda x: model["used"](x.detach()).detach()
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    assert all(not g.any() for g in transposed_product(model, x, ALL, names_of(model), torch.ones(4, 2)).values())
    for way in ("forward", "twice backward", "by rows"):
        assert not product(model, x, ALL, tangent_of(model, generator), way).any()


def test_attention_is_left_as_it_was():
    model, x = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval(), torch.ones(2, 3, 4)
    before = torch.backends.mha.get_fastpath_enabled()
    product(model, x, ALL, {name: p.detach() for name, p in model.named_parameters()}, "forward")
    assert torch.backends.mha.get_fastpath_enabled() == before
