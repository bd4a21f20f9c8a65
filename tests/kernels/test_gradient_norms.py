import pytest
import torch
from torch import nn

from learnscope.errors import BudgetError
from learnscope.kernels.gradient_norms import squared_gradient_norms
from learnscope.kernels.tangent import reference
from learnscope.kernels.tangent.selection import Readout


@pytest.mark.parametrize("outputs", ["all", "sum", 1])
def test_they_are_the_diagonal_of_the_kernel(case, outputs):
    model, x = case
    kernel = reference.tangent_kernel(model, x.clone(), outputs=outputs)
    truth = torch.einsum("nnkk->n" if outputs == "all" else "nn->n", kernel)
    ours = squared_gradient_norms(model, x.clone(), Readout(outputs), None, 2**30)
    torch.testing.assert_close(ours, truth, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 16, 2)),  # more positions than weights
        nn.Sequential(nn.Conv2d(3, 40, 5), nn.Tanh(), nn.Flatten(), nn.Linear(160, 2)),  # more weights than positions
    ],
)
def test_both_ways_to_sum_over_positions_agree_with_the_definition(model, generator):
    x = torch.randn(4, 3, 6, 6, generator=generator, dtype=torch.float64)
    model = model.double()
    truth = torch.einsum("nnkk->n", reference.tangent_kernel(model, x))
    torch.testing.assert_close(squared_gradient_norms(model, x, Readout("all"), None, 2**30), truth)


def test_the_least_budget_that_is_named_works(generator):
    model, x = nn.Linear(5, 3).double(), torch.randn(6, 5, generator=generator, dtype=torch.float64)
    with pytest.raises(BudgetError, match="too small for the gradients of one example") as error:
        squared_gradient_norms(model, x, Readout("all"), None, 1)
    least = int(str(error.value).rpartition("give ")[2].rstrip(".").replace(",", ""))
    torch.testing.assert_close(
        squared_gradient_norms(model, x, Readout("all"), None, least), 3 * (x.square().sum(1) + 1)
    )
