"""Deep linear networks: products of matrices, their gradients by layer, and their usual initial weights.

The factors (W₁, ..., W_N) of a network of depth N map x to W_N ... W₁ x; W_j has shape [..., d_j, d_{j-1}], and leading
dimensions are independent networks.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from learnscope.errors import InputError
from learnscope.networks.initialisation import require_positive


def prefix_products(factors: Sequence[Tensor]) -> list[Tensor]:
    """Return the maps up to each layer, (W₁, W₂W₁, ..., W_N...W₁).

    Args:
        factors: (W₁, ..., W_N), [..., d_j, d_{j-1}], at least one.

    Returns:
        N tensors [..., d_j, d_0].

    Raises:
        InputError: there is no factor, or neighbouring shapes do not fit.

    Cost: N - 1 matrix products.
    """
    if not factors:
        raise InputError("factors is empty, but a product needs at least one matrix; give (W₁, ..., W_N).")
    for number, (before, after) in enumerate(itertools.pairwise(factors), start=1):
        if after.shape[-1] != before.shape[-2]:
            raise InputError(
                f"factor {number + 1} has {after.shape[-1]} columns but factor {number} has {before.shape[-2]} rows; "
                f"give the factors in the order W₁, ..., W_N in which they are applied."
            )
    return list(itertools.accumulate(factors, lambda inner, outer: outer @ inner))


def product(factors: Sequence[Tensor]) -> Tensor:
    """Return the end-to-end matrix W_N ... W₁ of factors (W₁, ..., W_N).

    Args:
        factors: [..., d_j, d_{j-1}], at least one, any floating dtype; leading dimensions broadcast.

    Returns:
        [..., d_N, d_0].

    Raises:
        InputError: there is no factor, or neighbouring shapes do not fit.

    Cost: N - 1 matrix products, and as many matrices of memory.

    Examples:
        >>> product([torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [4.0]])]).tolist()
        [[3.0, 6.0], [4.0, 8.0]]
    """
    return prefix_products(factors)[-1]


def factor_gradients(
    factors: Sequence[Tensor], gradient: Tensor, *, prefixes: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """Return ∂L/∂W_j = (W_N ... W_{j+1})ᵀ G (W_{j-1} ... W₁)ᵀ for each factor, where G = ∂L/∂A at A = W_N ... W₁.

    Args:
        factors: (W₁, ..., W_N), [..., d_j, d_{j-1}].
        gradient: [..., d_N, d_0] the gradient G of the loss with respect to the product.
        prefixes: :func:`prefix_products` of the factors, if they are at hand.

    Returns:
        N tensors with the shapes of the factors.

    Raises:
        InputError: there is no factor, or neighbouring shapes do not fit.

    Cost: 2N - 2 matrix products, and N - 2 for the prefixes.

    Source: the chain rule; Arora, Cohen, Hazan 2018, equation 7.

    Examples:
        Two scalars with product 6, where dL/dA = 1:

        >>> factors = [torch.tensor([[2.0]]), torch.tensor([[3.0]])]
        >>> [float(g) for g in factor_gradients(factors, torch.ones(1, 1))]
        [3.0, 2.0]
    """
    inner = prefix_products(factors) if prefixes is None else prefixes
    gradients: list[Tensor] = []
    behind = gradient
    for j in range(len(factors) - 1, 0, -1):
        gradients.append(behind @ inner[j - 1].mT)
        behind = factors[j].mT @ behind
    return [behind, *reversed(gradients)]


def balanced_factors(matrix: Tensor, depth: int) -> list[Tensor]:
    """Return factors with the given product that are balanced: W_{j+1}ᵀ W_{j+1} = W_j W_jᵀ for every j.

    With A = U S Vᵀ they are W₁ = S^(1/N) Vᵀ, W_j = S^(1/N) and W_N = U S^(1/N). Among all factors of A they have the
    least Σ_j ‖W_j‖² = N Σ_i s_i^(2/N), and gradient flow keeps them balanced.

    Args:
        matrix: [..., outputs, inputs] the product A, any floating dtype.
        depth: the number of factors N, at least 1.

    Returns:
        N tensors; the hidden widths are min(outputs, inputs).

    Raises:
        InputError: the depth is not positive.

    Cost: one thin singular value decomposition.

    Source: Arora, Cohen, Hazan 2018, definition 1; the least norm is in Dai, Karzand, Srebro 2021.

    Examples:
        >>> factors = balanced_factors(torch.diag(torch.tensor([8.0, 1.0])), depth=3)
        >>> round(sum(float(W.square().sum()) for W in factors), 4)  # 3 (8^(2/3) + 1)
        15.0
    """
    if depth < 1:
        raise InputError(f"depth is {depth}; give the number of factors, 1 or more.")
    if depth == 1:
        return [matrix.clone()]
    U, s, Vh = torch.linalg.svd(matrix, full_matrices=False)
    root = s ** (1 / depth)
    return [
        root[..., :, None] * Vh,
        *(torch.diag_embed(root) for _ in range(depth - 2)),
        U * root[..., None, :],
    ]


def gaussian_factors(
    dims: Sequence[int],
    scale: float | Tensor,
    generator: torch.Generator,
    batch: Sequence[int] = (),
    *,
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """Return factors with independent entries N(0, scale² / d_{j-1}).

    The factors of square matrices of size n have a product with E‖A‖² = n scale^(2N), so ``scale ** (1 / N)`` gives a
    product of the size of ``scale`` times an orthogonal matrix.

    Args:
        dims: (d_0, ..., d_N): inputs, hidden widths, outputs.
        scale: one number, or a tensor that broadcasts to ``batch`` with a scale for each network.
        generator: source of the entries; its device is the factors'.
        batch: leading dimensions: the shape of the stack of independent networks.
        dtype: of the factors.

    Returns:
        N tensors [*batch, d_j, d_{j-1}].

    Raises:
        InputError: there are fewer than two dims, or one is not positive.

    Examples:
        >>> W1, W2 = gaussian_factors((100, 400, 10), 0.1, torch.Generator().manual_seed(0))
        >>> W2.shape, round(float(W1.square().sum()) / 400, 3)  # a row of W1 has length about 0.1
        (torch.Size([10, 400]), 0.01)
    """
    if len(dims) < 2:
        raise InputError(f"dims is {tuple(dims)}; give at least the numbers of inputs and outputs.")
    require_positive(**{f"dims[{number}]": size for number, size in enumerate(dims)})
    scales = torch.as_tensor(scale, dtype=dtype, device=generator.device)[..., None, None]
    return [
        scales
        * before**-0.5
        * torch.randn((*batch, after, before), generator=generator, device=generator.device, dtype=dtype)
        for before, after in itertools.pairwise(dims)
    ]


class DeepLinear(nn.Module):
    """A network without activation functions or biases: x → W_N ... W₁ x.

    Layers are called ``fc1``, ``fc2``, ..., ``output``. Standard parametrisation: W_j has entries
    N(0, scale² / fan_in), drawn from ``generator`` alone by :func:`gaussian_factors`, in the default dtype.

    Args:
        dims: inputs, hidden widths, outputs; two numbers make the linear model.
        scale: of the initial weights; 1 keeps the mean square of the input through the layers.
        generator: source of the initial weights; its device becomes the network's.

    Raises:
        InputError: there are fewer than two dims, or one is not positive.

    Examples:
        >>> network = DeepLinear((5, 8, 3), generator=torch.Generator().manual_seed(0))
        >>> x = torch.ones(2, 5)
        >>> torch.allclose(network(x), x @ product(network.factors).mT)
        True
    """

    def __init__(self, dims: Sequence[int], scale: float = 1.0, *, generator: torch.Generator) -> None:
        super().__init__()
        factors = gaussian_factors(dims, scale, generator, dtype=torch.get_default_dtype())
        self.names = (*(f"fc{number}" for number in range(1, len(factors))), "output")
        for name, weight in zip(self.names, factors, strict=True):
            layer = skip_init(nn.Linear, weight.shape[1], weight.shape[0], bias=False)
            layer.weight = nn.Parameter(weight)
            self.add_module(name, layer)

    @property
    def factors(self) -> list[Tensor]:
        """The weights (W₁, ..., W_N), as they are now."""
        return [self.get_parameter(f"{name}.weight") for name in self.names]

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs [..., d_N] of inputs [..., d_0]."""
        for layer in self.children():
            x = layer(x)
        return x
