"""The classifier of maximal margin in the space of a kernel, as a function of inputs.

A network in the lazy limit, trained until all margins are reached, is this classifier for its tangent kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from learnscope.kernels.machines import KernelSupportVectorClassifier

Kernel = Callable[[Tensor, Tensor | None], Tensor]
CHUNK = 2**22  # values of the kernel of new examples at a time


@dataclass(frozen=True, slots=True, eq=False)
class HardMargin:
    """A support-vector classifier with a hard margin that remembers its kernel and its examples.

    Attributes:
        kernel: (x1 [n, ...], x2 [n', ...] or None for x1) → [n, n'].
        x: [n, ...] the examples.
        machine: what was fitted on their Gram matrix.
    """

    kernel: Kernel
    x: Tensor
    machine: KernelSupportVectorClassifier

    @property
    def support(self) -> Tensor:
        """Return the indices of the examples that hold the margin, ascending."""
        return self.machine.support

    def predict(self, x: Tensor) -> Tensor:
        """Return the labels [m], ±1, of new examples.

        Cost: kernels of all new examples with the support alone, some at a time.
        """
        held = self.x[self.support]
        found = []
        for some in x.split(max(1, CHUNK // len(self.x))):
            known = self.kernel(some, held)
            cross = known.new_zeros(len(some), len(self.x))  # what does not hold the margin has weight zero
            cross[:, self.support] = known
            found.append(self.machine.predict(cross))
        return torch.cat(found)

    def error(self, x: Tensor, y: Tensor) -> float:
        """Return the share of new examples whose label is not y."""
        return float((self.predict(x) != y).double().mean())


def hard_margin(kernel: Kernel, x: Tensor, y: Tensor, *, gram: Tensor | None = None) -> HardMargin:
    """Fit the classifier of maximal margin.

    Args:
        kernel: a positive definite function of inputs.
        x: [n, ...] examples.
        y: [n] their labels, +1 and −1, of any dtype.
        gram: [n, n] kernel(x, None), where it is at hand already.

    Raises:
        InputError: all labels are the same, or the kernel is not one.

    Cost: the Gram matrix, in O(n²) memory, and a support-vector classifier on it.

    Source: Cortes, Vapnik 1995; for networks, Chizat, Oyallon, Bach 2019.

    Examples:
        >>> x, y = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]]), torch.tensor([-1.0, -1.0, 1.0, 1.0])
        >>> machine = hard_margin(lambda a, b: a @ (a if b is None else b).T, x, y)
        >>> machine.support.tolist(), machine.predict(torch.tensor([[0.1], [-5.0]])).tolist()
        ([1, 2], [1, -1])
    """
    gram = kernel(x, None) if gram is None else gram
    return HardMargin(kernel, x, KernelSupportVectorClassifier.fit(gram, y.long()))
