import copy

import pytest
import torch
from torch import nn

from learnscope.errors import BudgetError, InputError
from learnscope.kernels import TangentOperator
from learnscope.kernels.tangent import reference

CHOICES = ["all", "trace", "sum", 1, lambda f: f[:, 0] * f[:, 1]]


def mlp(*, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).double()


def dense(model, x, *, outputs="all", parameters=None):
    """Return the kernel as a matrix, and the shape of its rows."""
    kernel = reference.tangent_kernel(model, x.clone(), outputs=outputs, parameters=parameters)
    if kernel.ndim == 2:
        return kernel, kernel.shape[:1]
    rows = (kernel.shape[0], kernel.shape[2])
    return kernel.transpose(1, 2).flatten(2).flatten(0, 1), rows


@pytest.fixture
def x(generator):
    return torch.randn(6, 5, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("outputs", CHOICES)
def test_products_are_those_of_the_kernel(case, outputs, generator):
    model, x = case
    kernel, rows = dense(model, x, outputs=outputs)
    operator = TangentOperator(model, x.clone(), outputs=outputs)
    assert operator.shape == tuple(kernel.shape)
    v = torch.randn(*rows, 3, generator=generator, dtype=torch.float64)
    truth = (kernel @ v.flatten(0, -2)).reshape(v.shape)
    torch.testing.assert_close(operator @ v, truth, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(operator @ v[..., 0], truth[..., 0], rtol=1e-9, atol=1e-10)


def test_the_spectrum_trace_and_alignment_are_those_of_the_kernel(case, generator):
    model, x = case
    kernel, rows = dense(model, x)
    operator = TangentOperator(model, x.clone())
    values = torch.linalg.eigvalsh(kernel).flip(0)
    found = operator.top_eigenpairs(4, generator=generator)
    assert found.converged.all()
    assert found.vectors.shape == (*rows, 4)
    torch.testing.assert_close(found.values, values[:4], rtol=1e-7, atol=1e-9 * float(values[0]))
    torch.testing.assert_close(operator @ found.vectors, found.values * found.vectors, atol=1e-6, rtol=0)
    torch.testing.assert_close(operator.trace(), kernel.trace())
    y = torch.randn(rows, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(operator.alignment(y), y.flatten() @ kernel @ y.flatten())
    norm = operator.frobenius_norm(generator=generator, deflated=5)
    assert abs(float(norm) - float(kernel.norm())) <= 5 * float(norm.standard_error) + 1e-9 * float(norm)


def test_several_outputs_of_a_linear_layer_share_eigenvalues_and_all_copies_are_found(generator):
    """K = (X Xᵀ + 1) ⊗ 1: one sequence of products would show one copy of each."""
    model, x = nn.Linear(20, 4).double(), torch.randn(40, 20, generator=generator, dtype=torch.float64)
    found = TangentOperator(model, x).top_eigenpairs(6, generator=generator)
    once = torch.linalg.eigvalsh(x @ x.T + 1).flip(0)
    torch.testing.assert_close(found.values, once.repeat_interleave(4)[:6])
    assert found.converged.all()


@pytest.mark.parametrize("outputs", ["trace", 0])
def test_kernels_of_one_scalar_have_vectors_over_examples(x, outputs, generator):
    model = mlp()
    kernel, _ = dense(model, x, outputs=outputs)
    operator = TangentOperator(model, x, outputs=outputs)
    found = operator.top_eigenpairs(2, generator=generator)
    assert found.vectors.shape == (6, 2)
    torch.testing.assert_close(found.values, torch.linalg.eigvalsh(kernel).flip(0)[:2])
    torch.testing.assert_close(operator @ found.vectors, kernel @ found.vectors)
    torch.testing.assert_close(operator @ found.vectors[:, None, :], (kernel @ found.vectors)[:, None, :])
    y = torch.sign(x[:, 0])
    torch.testing.assert_close(operator.alignment(y), y @ kernel @ y)
    torch.testing.assert_close(operator.trace(), kernel.trace())
    one_hot = torch.eye(3, dtype=torch.float64)[torch.tensor([0, 1, 2, 0, 1, 2])]
    torch.testing.assert_close(operator.alignment(one_hot), torch.einsum("ic,ij,jc->c", one_hot, kernel, one_hot))


def test_a_single_output_needs_no_dimension(x):
    model = nn.Linear(5, 1).double()
    operator, kernel = TangentOperator(model, x), x @ x.T + 1
    torch.testing.assert_close(operator @ x[:, 0], kernel @ x[:, 0])
    torch.testing.assert_close(operator @ x[:, :1], kernel @ x[:, :1])


def test_the_normalised_alignment_is_the_cosine_with_the_labels(x, generator):
    model = mlp()
    kernel, _ = dense(model, x)
    operator = TangentOperator(model, x)
    y = torch.randn(6, 3, 2, generator=generator, dtype=torch.float64)
    norm = operator.frobenius_norm(generator=generator, deflated=18)
    found = operator.normalised_alignment(y, norm)
    for column in range(2):
        label = y[..., column].flatten()
        truth = (kernel * torch.outer(label, label)).sum() / (kernel.norm() * label.square().sum())
        torch.testing.assert_close(found.value[column], truth)
    assert (found.standard_error == 0).all()
    assert found.converged.all()
    rough = operator.frobenius_norm(generator=generator, deflated=1)
    relative = rough.standard_error / rough.value
    once = operator.normalised_alignment(y[..., 0], rough)
    assert once.value.ndim == 0
    torch.testing.assert_close(once.standard_error / once.value, relative)


def test_chunks_under_a_small_budget_give_the_same_products(case, generator):
    model, x = case
    whole = TangentOperator(model, x.clone())
    v = torch.randn(whole.shape[0], generator=generator, dtype=torch.float64).reshape(5, -1)
    with pytest.raises(BudgetError, match="too small for one example") as error:
        TangentOperator(model, x.clone(), budget=1)
    least = int(str(error.value).rpartition("give ")[2].rstrip(".").replace(",", ""))
    for budget, chunk in ((least, 1), (2 * least, 2)):
        operator = TangentOperator(model, x.clone(), budget=budget)
        assert operator.chunk == chunk
        torch.testing.assert_close(operator @ v, whole @ v, rtol=1e-10, atol=1e-11)


@pytest.mark.filterwarnings("ignore::learnscope.errors.LeftOutWarning")
def test_selected_and_frozen_parameters_are_respected(x):
    model = mlp()
    model[0].bias.requires_grad_(False)
    v = x[:, :3]
    for chosen in (None, "2.*", ["0.weight", "2.bias"]):
        kernel, rows = dense(model, x, parameters=chosen)
        operator = TangentOperator(model, x, parameters=chosen)
        torch.testing.assert_close(operator @ v, (kernel @ v.flatten()).reshape(rows))
        torch.testing.assert_close(operator.trace(), kernel.trace())


def test_it_follows_the_parameters(x):
    model = mlp()
    operator = TangentOperator(model, x)
    with torch.no_grad():
        model[0].weight.mul_(2)
    kernel, rows = dense(model, x)
    torch.testing.assert_close(operator @ x[:, :3], (kernel @ x[:, :3].flatten()).reshape(rows))


def test_the_model_and_the_inputs_are_left_as_they_were(case, generator):
    model, x = case
    before, inputs = copy.deepcopy(model.state_dict()), x.clone()
    random = torch.get_rng_state()
    operator = TangentOperator(model, x)
    operator.top_eigenpairs(2, generator=generator)
    operator.frobenius_norm(generator=generator, deflated=1, probes=2)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(x, inputs)
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_and_said(dtype, x):
    model = mlp().to(dtype)
    with pytest.warns(UserWarning, match="computed in float32"):
        operator = TangentOperator(model, x.to(dtype))
    kernel, rows = dense(model, x.to(dtype))
    product = operator @ x[:, :3]
    assert product.dtype == torch.float32
    torch.testing.assert_close(product.double(), (kernel @ x[:, :3].flatten()).reshape(rows), rtol=1e-4, atol=1e-4)


def test_nan_in_the_model_is_passed_on(x, generator):
    model = mlp()
    with torch.no_grad():
        model[2].weight[0, 0] = torch.nan
    operator = TangentOperator(model, x)
    assert (operator @ x[:, :3]).isnan().any()
    assert operator.top_eigenpairs(2, generator=generator).values.isnan().all()
    assert operator.trace().isnan()
    assert not bool(operator.frobenius_norm(generator=generator).converged)


@pytest.mark.parametrize("shape", [(6,), (5, 3), (6, 2), (6, 3, 2, 2), (6, 3, 0), (3, 6), ()])
def test_vectors_that_do_not_fit_are_refused(x, shape):
    with pytest.raises(InputError, match=r"kernel with rows \[6, 3\]"):
        TangentOperator(mlp(), x) @ torch.zeros(shape)


def test_wrong_arguments_are_one_sentence(x, generator):
    with pytest.raises(InputError, match="outputs=3 is out of range"):
        TangentOperator(mlp(), x, outputs=3)
    with pytest.raises(InputError, match=r"no parameter is called '0\.wieght'"):
        TangentOperator(mlp(), x, parameters="0.wieght")
    with pytest.raises(InputError, match="no inputs"):
        TangentOperator(mlp(), x[:0])
    with pytest.raises(InputError, match=r"module '1' .* call model.eval\(\) first"):
        TangentOperator(nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.5)).double(), x)
    with pytest.raises(InputError, match="k is 19, but the operator has 18 eigenvalues"):
        TangentOperator(mlp(), x).top_eigenpairs(19, generator=generator)
