"""Principal components of a kernel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from learnscope.errors import InputError
from learnscope.kernels.gram import as_cross, as_gram, spectrum


@dataclass(frozen=True, slots=True, eq=False)
class KernelComponents:
    """The leading eigenvectors of a Gram matrix, as functions of examples.

    Attributes:
        eigenvalues: [k] λ_r, descending.
        components: [n, k] φ_r(x_i), orthogonal and of the norm ⟨φ_r, φ_r⟩ = n.
        trace: sum of all eigenvalues; λ_r / trace is the share of the variance.
        centred: whether the kernel was centred in its feature space.
        means: [n] the mean of each column of the kernel.
    """

    eigenvalues: Tensor
    components: Tensor
    trace: Tensor
    centred: bool
    means: Tensor

    def project(self, kernel: Tensor) -> Tensor:
        """Return φ_r(x) = Σ_i K(x, x_i) φ_r(x_i) / λ_r for new examples, [m, k]; NaN where λ_r = 0.

        Args:
            kernel: [m, n] kernels of new examples with those of the Gram matrix.

        Raises:
            InputError: if it does not fit.
        """
        cross = as_cross(kernel, len(self.components)).to(self.components)
        if self.centred:
            cross = cross - cross.mean(1, keepdim=True) - self.means + self.means.mean()
        return cross @ self.components / torch.where(self.eigenvalues > 0, self.eigenvalues, torch.nan)


def kernel_pca(kernel: Tensor, k: int, *, centred: bool) -> KernelComponents:
    """Return the k leading principal components of a kernel, K φ_r = λ_r φ_r with ⟨φ_r, φ_r⟩ = n.

    In that normalisation ω_r² = ⟨φ_r, y⟩² / n² are the shares of labels y = ±1 along the components, which sum to 1
    over all n of a kernel that is not centred.

    Args:
        kernel: [n, n] Gram matrix.
        k: how many, up to n. Where the kernel has a lower rank, the last are any completion to orthogonal vectors.
        centred: whether to subtract the mean in feature space first, (1 − 11ᵀ/n) K (1 − 11ᵀ/n).

    Raises:
        InputError: for a kernel that is not a Gram matrix, or k outside 1 ... n.

    Cost: an eigendecomposition, O(n³).

    Source: Schölkopf, Smola, Müller 1998; the projections after Paccolat, Petrini, Geiger, Tyloo, Wyart 2021.

    Examples:
        >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.5], [0.0, -0.5]])
        >>> found = kernel_pca(x @ x.T, 2, centred=False)
        >>> found.eigenvalues.tolist(), found.components[:, 0].abs().tolist()
        ([2.0, 0.5], [1.41421, 1.41421, 0.0, 0.0])
    """
    gram = as_gram(kernel)
    n = len(gram)
    if not 1 <= k <= n:
        raise InputError(f"k is {k}, but a kernel of {n} examples has {n} components: ask for 1 to {n}.")
    means = gram.mean(0)
    if centred:
        gram = gram - means - means[:, None] + means.mean()
    values, vectors = spectrum(gram)
    leading, components = values.flip(0)[:k], n**0.5 * vectors.flip(1)[:, :k]
    return KernelComponents(leading, components, gram.trace(), centred, means)
