import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from learnscope.errors import BudgetError, InputError, LeftOutWarning
from learnscope.kernels.operator import TangentOperator
from learnscope.kernels.tangent import TangentKernel, reference, selected_parameters, tangent_kernel
from learnscope.kernels.tangent.capture import candidates
from learnscope.kernels.tangent.plan import make_plan
from learnscope.kernels.tangent.selection import Readout

from .conftest import CASES

METHODS = ["auto", "layerwise", "jacobian", "positions", "functional"]


def mlp(*, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).double()


@pytest.fixture
def x(generator):
    return torch.randn(6, 5, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("outputs", ["all", "trace", "sum", 1])
def test_every_method_gives_the_kernel_of_the_definition(case, outputs):
    model, x = case
    truth = reference.tangent_kernel(model, x.clone(), outputs=outputs)
    for method in METHODS:
        ours = tangent_kernel(model, x.clone(), outputs=outputs, method=method)
        torch.testing.assert_close(ours, truth, rtol=1e-9, atol=1e-10, msg=lambda m, method=method: f"{method}: {m}")


def test_rectangular_kernels_are_right(case):
    model, x = case
    truth = reference.tangent_kernel(model, x[:2].clone(), x[2:].clone())
    torch.testing.assert_close(tangent_kernel(model, x[:2].clone(), x[2:].clone()), truth, rtol=1e-9, atol=1e-10)


def test_the_parts_of_all_layers_sum_to_the_whole(case):
    model, x = case
    parts = tangent_kernel(model, x.clone(), outputs="trace", by_layer=True)
    owners = {name.rpartition(".")[0] for name, _ in model.named_parameters()}
    assert set(parts) == owners
    whole = tangent_kernel(model, x.clone(), outputs="trace")
    torch.testing.assert_close(torch.stack(list(parts.values())).sum(0), whole)
    for owner, part in parts.items():
        own = [n for n, _ in model.named_parameters() if n.rpartition(".")[0] == owner]
        truth = reference.tangent_kernel(model, x.clone(), outputs="trace", parameters=own)
        torch.testing.assert_close(part, truth, rtol=1e-9, atol=1e-10)


def test_blocks_under_a_small_budget_give_the_same_kernel(case):
    model, x = case
    whole = tangent_kernel(model, x.clone())
    plan = make_plan(model, x.clone(), Readout("all"), None)
    small = 3 * plan.held + plan.working + 8 * plan.least_scratch
    torch.testing.assert_close(tangent_kernel(model, x.clone(), budget=small), whole)


def test_the_model_is_left_as_it_was(case):
    model, x = case
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    random, own = torch.get_rng_state(), [id(p) for p in model.parameters()]
    tangent_kernel(model, x.clone())
    tangent_kernel(model, x.clone(), method="functional")
    assert [id(p) for p in model.parameters()] == own
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("name", ["called twice", "tied", "used elsewhere", "bare parameter", "recurrent"])
def test_layers_that_are_not_proven_safe_take_the_general_path(name):
    make, shape = CASES[name]
    torch.manual_seed(0)
    model = make().double()
    plan = make_plan(model, torch.randn(3, *shape, dtype=torch.float64), Readout("all"), None)
    assert plan.rest
    assert plan.structured.parameters() | set(plan.rest) == {n for n, _ in model.named_parameters()}


def test_ordinary_layers_take_the_structured_path():
    plan = make_plan(mlp(), torch.randn(3, 5, dtype=torch.float64), Readout("all"), None)
    assert plan.rest == []


def test_a_linear_model_has_the_kernel_of_its_inputs(x):
    model = nn.Linear(5, 2).double()
    torch.testing.assert_close(tangent_kernel(model, x, outputs=0), x @ x.T + 1)


def test_the_kernel_is_exactly_symmetric_and_positive(case):
    model, x = case
    kernel = tangent_kernel(model, x.clone())
    n, k = kernel.shape[1:3]
    square = kernel.permute(0, 2, 1, 3).reshape(n * k, n * k)
    assert torch.equal(square, square.T)
    assert float(torch.linalg.eigvalsh(square).min()) > -1e-9 * float(square.trace())


def test_a_function_of_the_outputs_selects_a_scalar(x):
    model = mlp()
    margin = tangent_kernel(model, x, outputs=lambda f: f[:, 0] - f[:, 1])
    full = tangent_kernel(model, x)
    torch.testing.assert_close(margin, full[..., 0, 0] - full[..., 0, 1] - full[..., 1, 0] + full[..., 1, 1])


def test_parameters_are_selected_by_name_pattern_or_predicate(x):
    model = mlp()
    truth = reference.tangent_kernel(model, x, parameters=["2.weight", "2.bias"])
    for chosen in (["2.weight", "2.bias"], "2", "2.*", lambda name, parameter: name.startswith("2")):
        torch.testing.assert_close(tangent_kernel(model, x, parameters=chosen), truth)
    biases = tangent_kernel(model, x, parameters="*.bias")
    torch.testing.assert_close(biases, reference.tangent_kernel(model, x, parameters=["0.bias", "2.bias"]))


def test_frozen_parameters_are_left_out_and_named_in_one_warning(x):
    model = mlp()
    model[0].weight.requires_grad_(False)
    assert selected_parameters(model).left_out == ("0.weight",)
    truth = reference.tangent_kernel(model, x, parameters=["0.bias", "2.weight", "2.bias"])
    with pytest.warns(LeftOutWarning, match=r"do not require gradients: 0\.weight$") as said:
        kernel = tangent_kernel(model, x, budget=20_000)
    assert len(said) == 1
    torch.testing.assert_close(kernel, truth)
    with pytest.warns(LeftOutWarning):
        prepared = TangentKernel(model, x)
    torch.testing.assert_close(prepared(x), truth)  # without another warning, which would be an error
    with pytest.warns(LeftOutWarning, match=r"0\.weight$"):
        TangentOperator(model, x)


def test_nobody_is_warned_who_chose_what_requires_gradients(x):
    model = mlp()
    model[0].weight.requires_grad_(False)
    tangent_kernel(model, x, parameters=lambda name, parameter: parameter.requires_grad)  # warnings are errors
    tangent_kernel(model, x, parameters="2")


def test_a_warning_names_ten_parameters_and_counts_the_others():
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(7)))
    for p in model[:6].parameters():
        p.requires_grad_(False)
    with pytest.warns(LeftOutWarning, match=r"0\.weight, .*, 4\.bias and 2 more, which selected_parameters"):
        tangent_kernel(model, torch.ones(1, 2))


def test_the_dtype_is_the_models_unless_asked_otherwise(x):
    model = mlp().float()
    assert tangent_kernel(model, x.float()).dtype == torch.float32
    double = tangent_kernel(model, x.float(), dtype=torch.float64)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double, reference.tangent_kernel(model, x.float()))
    assert model[0].weight.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_and_said(dtype, x):
    model = mlp().to(dtype)
    with pytest.warns(UserWarning, match="computed in float32"):
        kernel = tangent_kernel(model, x.to(dtype))
    torch.testing.assert_close(kernel.double(), reference.tangent_kernel(model, x.to(dtype)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("module", [nn.BatchNorm1d(8), nn.Dropout(0.5)])
def test_modules_in_training_mode_that_couple_examples_are_refused(module, x):
    model = nn.Sequential(nn.Linear(5, 8), module, nn.Linear(8, 1)).double()
    with pytest.raises(InputError, match=r"module '1' .* is in training mode.*call model.eval\(\) first"):
        tangent_kernel(model, x)
    model.eval()
    torch.testing.assert_close(tangent_kernel(model, x), reference.tangent_kernel(model, x))


def test_wrong_arguments_are_one_sentence(x):
    model = mlp()
    with pytest.raises(InputError, match="outputs=3 is out of range: the model has 3 outputs"):
        tangent_kernel(model, x, outputs=3)
    with pytest.raises(InputError, match="outputs='everything' is not known"):
        tangent_kernel(model, x, outputs="everything")
    with pytest.raises(InputError, match="must return one number an example"):
        tangent_kernel(model, x, outputs=lambda f: f)
    with pytest.raises(InputError, match=r"no parameter is called '0.wieght': did you mean '0.weight'"):
        tangent_kernel(model, x, parameters="0.wieght")
    with pytest.raises(InputError, match="method 'fast' is not known"):
        tangent_kernel(model, x, method="fast")
    with pytest.raises(InputError, match="no inputs"):
        tangent_kernel(model, x[:0])
    with pytest.raises(BudgetError, match=r"budget=100 bytes is too small .*: give "):
        tangent_kernel(model, x, budget=100)


def test_the_least_budget_that_is_named_works(x):
    model = mlp()
    with pytest.raises(BudgetError) as error:
        tangent_kernel(model, x, budget=1)
    least = int(str(error.value).rpartition("give ")[2].rstrip(".").replace(",", ""))
    torch.testing.assert_close(tangent_kernel(model, x, budget=least), tangent_kernel(model, x))


def test_outputs_that_are_not_a_tensor_are_refused(x):
    class Two(nn.Sequential):
        def forward(self, input):
            return {"logits": super().forward(input)}

    with pytest.raises(InputError, match="the model returned a dict"):
        tangent_kernel(Two(nn.Linear(5, 2)).double(), x)


def test_nan_in_the_model_is_said_and_reaches_the_kernel_instead_of_vanishing(x):
    model = mlp()
    with torch.no_grad():
        model[2].weight[0, 0] = torch.nan
    with pytest.warns(UserWarning, match=r"kernel holds NaN or infinite numbers, and so does '2\.weight' of the model"):
        kernel = tangent_kernel(model, x)
    assert kernel.isnan().any()


def test_nan_in_the_inputs_is_said(x):
    x[0, 0] = torch.nan
    with pytest.warns(UserWarning, match="but no parameter or buffer of the model does: look at the inputs"):
        parts = tangent_kernel(mlp(), x, by_layer=True)
    assert all(part.isnan().any() for part in parts.values())


def test_a_buffer_with_infinite_numbers_that_leaves_the_kernel_finite_is_no_cause_for_warning(x):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.scores = nn.Linear(5, 3)
            self.register_buffer("mask", torch.tensor([0.0, 0.0, -torch.inf]))

        def forward(self, x):
            return torch.softmax(self.scores(x) + self.mask, -1)

    model = Masked().double()
    torch.testing.assert_close(tangent_kernel(model, x), reference.tangent_kernel(model, x), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("outputs", ["all", "trace"])
def test_strips_and_pieces_of_many_examples_make_the_same_kernel(method, outputs, generator):
    """Enough rows for several strips of the upper triangle, and memory for a few positions and weights at a time."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2), nn.ReLU(), nn.Conv2d(4, 5, 2), nn.Flatten(), nn.Linear(5, 3)
    ).double()
    x = torch.randn(150, 2, 4, 4, generator=generator, dtype=torch.float64)
    whole = tangent_kernel(model, x, outputs=outputs, method="functional")
    plan = make_plan(model, x, Readout(outputs), None, method)
    for budget in (None, 60 * plan.held + 9 * plan.working + 64 * plan.least_scratch):
        torch.testing.assert_close(tangent_kernel(model, x, outputs=outputs, method=method, budget=budget), whole)
        rectangular = tangent_kernel(model, x[:7], x[7:], outputs=outputs, method=method, budget=budget)
        torch.testing.assert_close(rectangular, whole[:7, 7:])


def test_an_embedding_of_many_tokens_never_takes_its_vocabulary_times_the_examples():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(200_000, 8), nn.Flatten(), nn.Linear(24, 2))
    tokens = torch.randint(0, 200_000, (20, 3))
    tokens[1] = tokens[0].flip(0)
    kernel = tangent_kernel(model, tokens, budget=10**6)  # a Jacobian of one example would be of 12 MB
    embedded = model[0](tokens).flatten(1)
    same = (tokens[:, None, :, None] == tokens[None, :, None, :]).float()
    weights = model[2].weight.detach().unflatten(1, (3, 8))
    truth = torch.einsum("nmts,kth,lsh->nmkl", same, weights, weights)
    truth += (embedded @ embedded.T + 1)[:, :, None, None] * torch.eye(2)
    torch.testing.assert_close(kernel, truth.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_the_empty_token_of_an_embedding_has_no_gradient(method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 3, padding_idx=1), nn.Tanh(), nn.Flatten(), nn.Linear(6, 2)).double()
    tokens = torch.tensor([[0, 1], [1, 1], [4, 0], [1, 4]])
    truth = reference.tangent_kernel(model, tokens)
    torch.testing.assert_close(tangent_kernel(model, tokens, method=method), truth)


@pytest.mark.parametrize("options", [{"sparse": True}, {"max_norm": 0.1}, {"scale_grad_by_freq": True}])
def test_embeddings_with_other_gradients_take_the_general_path(options):
    model = nn.Sequential(nn.Embedding(5, 3, **options), nn.Flatten(), nn.Linear(6, 2)).double()
    assert set(candidates(model, selected_parameters(model)).modules) == {"2"}


def test_the_contexts_of_the_caller_change_nothing(x):
    model = mlp().float()
    x = x.float()
    truth = tangent_kernel(model, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(tangent_kernel(model, x), truth)
    with torch.inference_mode():
        assert torch.equal(tangent_kernel(model, x.clone()), truth)
        with torch.enable_grad():
            assert torch.equal(tangent_kernel(model, x.clone()), truth)
    with torch.no_grad():
        assert torch.equal(tangent_kernel(model, x), truth)


def test_a_prepared_kernel_follows_the_parameters(x):
    model = mlp()
    kernel = TangentKernel(model, x, by_layer=True)
    before = kernel(x)
    with torch.no_grad():
        model[0].weight.mul_(2)
    after, truth = kernel(x[:2], x[2:]), tangent_kernel(model, x, by_layer=True)
    assert set(after) == set(before) == {"0", "2"}
    for name, part in after.items():
        torch.testing.assert_close(part, truth[name][:2, 2:])
    assert not torch.allclose(before["2"], truth["2"])


def test_a_prepared_kernel_of_a_converted_model_follows_the_parameters_too(x):
    model = mlp().float()
    kernel = TangentKernel(model, x.float(), outputs="trace", dtype=torch.float64)
    with torch.no_grad():
        model[0].weight.mul_(2)
    torch.testing.assert_close(kernel(x), reference.tangent_kernel(model, x, outputs="trace"))


def test_a_prepared_kernel_follows_layers_that_are_called_otherwise_than_at_first(x):
    class Sometimes(nn.Sequential):
        def forward(self, input):
            z = self[0](input)
            return self[1](z) if bool((input > 0).all()) else z

    torch.manual_seed(0)
    model = Sometimes(nn.Linear(5, 5), nn.Linear(5, 5)).double()
    kernel = TangentKernel(model, x.abs() + 1, by_layer=True)
    for inputs in (x, x.abs() + 1, x):
        parts, whole = kernel(inputs), reference.tangent_kernel(model, inputs)
        torch.testing.assert_close(sum(parts.values()), whole)
        assert set(parts) == {"0", "1"}


@pytest.mark.parametrize("behind", range(1, 9))
def test_one_example_that_a_layer_sees_in_another_place_is_noticed(behind, generator):
    class Grouped(nn.Sequential):
        def forward(self, input):
            order = (input[:, 0] > 0).long().argsort(stable=True)
            return self[1](torch.tanh(self[0](input[order])))[order.argsort()]

    torch.manual_seed(0)
    model = Grouped(nn.Linear(5, 4), nn.Linear(4, 2)).double()
    inputs = torch.randn(9, 5, generator=generator, dtype=torch.float64)
    inputs[:, 0] = inputs[:, 0].abs()
    inputs[behind, 0] *= -1
    torch.testing.assert_close(tangent_kernel(model, inputs), reference.tangent_kernel(model, inputs))
    mixed = tangent_kernel(model, inputs[:2], inputs), reference.tangent_kernel(model, inputs)[:2]
    torch.testing.assert_close(*mixed)


def test_a_prepared_kernel_refuses_training_mode_and_nothing(x):
    model = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5)).double().eval()
    kernel = TangentKernel(model, x)
    with pytest.raises(InputError, match=r"module '1' .* call model.eval\(\) first"):
        model.train()
        kernel(x)
    kernel = TangentKernel(model.eval(), x)
    with pytest.raises(InputError, match="no inputs"):
        kernel(x[:0])
    with pytest.raises(InputError, match="no inputs"):
        kernel(x, x[:0])


def deep(generator):
    """Return a network of many layers that keep much of each example, and inputs."""
    torch.manual_seed(0)
    layers = [each for _ in range(5) for each in (nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 3)).double().eval()
    return model, torch.randn(40, 4, 4, 4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("outputs", ["all", "trace"])
@pytest.mark.parametrize("rectangular", [False, True])
def test_layers_in_turns_make_the_same_kernel(outputs, rectangular, generator):
    model, x = deep(generator)
    x1, x2 = (x[:5], x[5:8]) if rectangular else (x[:8], None)
    truth = reference.tangent_kernel(model, x1, x2, outputs=outputs)
    plan = make_plan(model, x, Readout(outputs), None)
    budget = 2 * plan.held + plan.working  # less than a pair takes in all layers at once
    assert len(plan.turns(len(x1), len(x1 if x2 is None else x2), budget, symmetric=x2 is None)) > 1
    torch.testing.assert_close(tangent_kernel(model, x1, x2, outputs=outputs, budget=budget), truth)
    parts = tangent_kernel(model, x1, x2, outputs=outputs, budget=budget, by_layer=True)
    torch.testing.assert_close(torch.stack(list(parts.values())).sum(0), truth)


def test_turns_take_every_layer_once_and_only_if_not_all_examples_fit(generator):
    model, x = deep(generator)
    plan = make_plan(model, x, Readout("trace"), None)
    assert len(plan.turns(40, 40, 10**9, symmetric=True)) == 1
    with pytest.raises(BudgetError) as error:
        plan.turns(40, 40, 1)
    least = int(str(error.value).rpartition("give ")[2].rstrip(".").replace(",", ""))
    assert least < 2 * plan.held + plan.working  # what one pair takes in all layers at once
    for budget in (least, 2 * least, 8 * plan.held, 20 * plan.held, 60 * plan.held):
        turns = plan.turns(40, 40, budget, symmetric=True)
        assert [name for turn in turns for name in turn.parts] == list(plan.parts)
        for turn in turns:
            some, sizes = plan.only(turn.parts), turn.sizes
            assert (sizes.rows + sizes.columns) * some.held + sizes.piece * some.working <= budget or sizes.rows == 1


MEMORY = """
import resource, torch
from torch import nn
from learnscope.kernels import tangent_kernel
torch.set_num_threads(1)
model = nn.Sequential(
    nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Flatten(),
    nn.Linear(6400, 10)
)
x = torch.randn(128, 1, 10, 10)
tangent_kernel(model, x[:2], outputs="{outputs}")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tangent_kernel(model, x, outputs="{outputs}", budget=200_000_000)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("outputs", ["all", "trace"])
def test_memory_stays_under_the_budget_and_the_result(outputs):
    """The Jacobian would be of 128 · 10 · 101,578 numbers, 520 MB, and what differentiation keeps, 600 MB."""
    run = subprocess.run(
        [sys.executable, "-c", MEMORY.format(outputs=outputs)], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 200e6 + 3 * 4 * (1280 if outputs == "all" else 128) ** 2 + 30e6  # what the allocator keeps


def test_inputs_are_not_written_over(x):
    before = x.clone()
    for method in METHODS:
        tangent_kernel(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 2)).double(), x, method=method)
    assert torch.equal(x, before)


def test_inputs_follow_the_dtype_that_is_asked_for(x):
    model = mlp()
    torch.testing.assert_close(
        tangent_kernel(model, x.float(), dtype=torch.float64), tangent_kernel(model, x.float().double())
    )


class Mixed(nn.Module):
    """What no module tells: noise, or a mean over the batch."""

    def __init__(self, mix):
        super().__init__()
        self.inner, self.mix = nn.Linear(5, 3), mix

    def forward(self, x):
        return self.mix(self.inner(x))


@pytest.mark.parametrize("mix", [lambda z: z + torch.randn_like(z), lambda z: z - z.mean(0)], ids=["chance", "batch"])
def test_outputs_that_hang_on_chance_or_on_other_examples_are_refused(mix, x):
    torch.manual_seed(0)
    with pytest.raises(InputError, match=r"differ by .* when it is evaluated again, alone"):
        tangent_kernel(Mixed(mix).double(), x)


def test_integers_where_the_model_takes_real_numbers_are_refused_with_the_remedy(x):
    with pytest.raises(InputError, match=r"inputs of torch\.uint8 \(.*\): convert them with \.float\(\)"):
        tangent_kernel(mlp(), (x * 10).to(torch.uint8))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):  # whatever else the model raises
        tangent_kernel(mlp(), x[:, :4])


def test_integer_inputs_are_taken_as_they_are():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2)).double()
    tokens = torch.tensor([[0, 1], [1, 1], [4, 0]])
    torch.testing.assert_close(tangent_kernel(model, tokens), reference.tangent_kernel(model, tokens))


def test_a_compiled_network_has_the_kernel_of_the_one_it_was_made_of(x):
    model = mlp()
    compiled = torch.compile(model, backend="eager")
    before = compiled(x)
    torch.testing.assert_close(tangent_kernel(compiled, x), tangent_kernel(model, x))  # pyright: ignore[reportArgumentType]
    assert torch.equal(compiled(x), before)
