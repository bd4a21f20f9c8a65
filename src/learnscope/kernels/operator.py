"""The tangent kernel as an operator: products, spectrum, trace, norm and alignment, without the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from learnscope.errors import BudgetError, InputError
from learnscope.estimate import Estimate
from learnscope.kernels import hutchinson, lanczos
from learnscope.kernels.gradient_norms import squared_gradient_norms
from learnscope.kernels.lanczos import Eigenpairs
from learnscope.kernels.products import Way, product, proven_way, transposed_product
from learnscope.kernels.tangent.kernel import DEFAULT_BUDGET
from learnscope.kernels.tangent.precision import inputs_in, model_in, working_dtype
from learnscope.kernels.tangent.selection import (
    Outputs,
    Readout,
    Selected,
    evaluated,
    refuse_coupled,
    selected_parameters,
    warn_of_left_out,
)

COPIES = 4  # of what a forward pass saves, that differentiating it twice holds at once


class TangentOperator:
    """The exact empirical tangent kernel K = J Jᵀ of a network on n examples, known by its products only.

    ``operator @ v`` is J (Jᵀ v). Vectors have the kernel's rows: [n, outputs] for ``outputs="all"``, where [n] will do
    for a single output, and [n] for all other kernels, which are [n, n]. A further dimension holds several vectors.

    The model is looked at when a method is called, so that it follows the parameters during training.

    Args:
        model: any module that maps [n, ...] to one tensor [n, ...]. Modules that couple examples or draw random numbers
            must be in eval mode. Half precision is computed in float32, on a copy.
        x: [n, ...] inputs.
        outputs: as for :func:`learnscope.kernels.tangent_kernel`; "trace" costs as many products as there are outputs.
        parameters: names or patterns, or a predicate of (name, parameter); all by default. Those that do not require
            gradients are left out, and named in a warning.
        budget: bytes of memory for the examples that are worked on at once; 2 GiB by default. Each method takes
            three copies of the parameters beyond that.

    Attributes:
        shape: [rows, rows] of the kernel as a matrix.
        chunk: number of examples that are worked on at once.
        way: how J t is computed: "forward", or without forward mode "twice backward" or "by rows". The way is proven
            on the first examples by ⟨u, J t⟩ = ⟨Jᵀ u, t⟩.

    Raises:
        InputError: for modules in training mode that couple examples, outputs that are not a tensor, no inputs, or a
            selection that matches nothing or is out of range.
        BudgetError: if the budget is too small for one example, with the least that works.

    Cost: a product takes 4 to 7 forward passes an example, 2 to 3 of them for Jᵀ v; twice backward 9 to 13.

    Examples:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> operator = TangentOperator(layer, torch.tensor([[3.0, 4.0], [0.0, 2.0]]))  # K = x xᵀ = [[25, 8], [8, 4]]
        >>> (operator @ torch.tensor([1.0, 0.0])).tolist()
        [25.0, 8.0]
        >>> float(operator.trace()), float(operator.alignment(torch.tensor([1.0, -1.0])))
        (29.0, 13.0)
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        *,
        outputs: Outputs = "all",
        parameters: Selected = None,
        budget: int | None = None,
    ) -> None:
        if not len(x):
            raise InputError("there are no inputs: give at least one example.")
        refuse_coupled(model)
        dtype = working_dtype(model, None)
        self._model, self._x = model_in(model, dtype), inputs_in(x, dtype)
        self._readout, self._selected = Readout(outputs), parameters
        chosen = selected_parameters(model, parameters)
        warn_of_left_out(chosen)
        self._names = chosen.names
        self._budget = DEFAULT_BUDGET if budget is None else budget
        scalars, each = self._measured()
        if each > self._budget:
            raise BudgetError(f"budget={self._budget:,} bytes is too small for one example: give {each:,}.")
        self._scalars = scalars.shape[1]
        self._like = scalars.new_empty(len(x), 1 if outputs == "trace" else self._scalars)
        self.shape = (self._like.numel(), self._like.numel())
        self.way: Way = proven_way(self._model, self._x, self._readout, self._names)
        self.chunk = 1 if self.way == "by rows" else min(len(x), self._budget // each)

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """Return K v for a vector, or for each column of several; see the class for shapes.

        Raises:
            InputError: if the vectors do not have the kernel's rows.
        """
        columns, _ = self._columns(vectors)
        return torch.stack([self._product(v) for v in columns], -1).reshape(vectors.shape)

    def top_eigenpairs(
        self, k: int, *, generator: torch.Generator, tolerance: float | None = None, max_products: int | None = None
    ) -> Eigenpairs:
        """Return the k largest eigenvalues with their eigenvectors, one a column: [n, outputs, k], or [n, k].

        By Lanczos iteration with full reorthogonalisation, started afresh until no copy of an eigenvalue is missing.

        Args:
            k: how many.
            generator: of the starts; which eigenpairs are found does not depend on it.
            tolerance: largest residual ‖K v − λ v‖ of a converged pair, relative to λ; the root of the dtype's
                rounding by default.
            max_products: bound on the products; 200 + 20 k by default.

        Raises:
            InputError: if k is not between 1 and the number of rows, or max_products is below k.

        Cost: see :func:`learnscope.kernels.lanczos.top_eigenpairs`.
        """
        like = self._like.flatten()
        found = lanczos.top_eigenpairs(
            self._flat_product, like, k, generator=generator, tolerance=tolerance, max_products=max_products
        )
        rows = self._like.shape if self._readout.full else self._like.shape[:1]
        return replace(found, vectors=found.vectors.reshape(*rows, k))

    def trace(self) -> Tensor:
        """Return tr K, the sum of the squared norms of all gradients of scalars of examples, exactly.

        Cost: one forward pass and a backward pass for each output.
        """
        return squared_gradient_norms(self._model, self._x, self._readout, self._selected, self._budget).sum()

    def alignment(self, y: Tensor) -> Tensor:
        """Return yᵀ K y = ‖Jᵀ y‖², of each column if there are several: [] or [columns].

        That is the squared norm of the gradient of Σ f y. With y the residuals of a loss ½ Σ ‖f − y‖², it is the rate
        at which gradient flow lowers the loss. Divided by ‖K‖ ‖y‖² it is :meth:`normalised_alignment`.

        Args:
            y: vectors, see the class for shapes.

        Raises:
            InputError: if the vectors do not have the kernel's rows.

        Cost: one forward and one backward pass; "trace": for each output.
        """
        columns, several = self._columns(y)
        return torch.stack([self._squared_gradient(v) for v in columns]).reshape(several)

    def normalised_alignment(self, y: Tensor, norm: Estimate) -> Estimate:
        """Return yᵀ K y / (‖K‖ ‖y‖²), the cosine between K and y yᵀ, with the uncertainty of the norm: [] or [columns].

        Args:
            y: vectors, see the class for shapes.
            norm: ‖K‖, from :meth:`frobenius_norm`.

        Raises:
            InputError: if the vectors do not have the kernel's rows.

        Cost: as :meth:`alignment`.

        Source: Cristianini, Shawe-Taylor, Elisseeff, Kandola 2002, definition 1.
        """
        columns, several = self._columns(y)
        squares = columns.double().square().sum((1, 2)).reshape(several)
        cosine = self.alignment(y).double() / (norm.value * squares)
        return Estimate(
            value=cosine,
            standard_error=cosine * norm.standard_error / norm.value,
            n=norm.n.expand_as(cosine),
            converged=norm.converged & torch.isfinite(cosine),
            estimator="kernel alignment (Cristianini et al. 2002), its norm estimated",
            notes=norm.notes,
        )

    def frobenius_norm(self, *, generator: torch.Generator, deflated: int = 10, probes: int = 20) -> Estimate:
        """Estimate ‖K‖ by random probes outside of the leading eigenvectors, which are taken exactly.

        Args:
            generator: of the eigenvectors' start and of the probes.
            deflated: number of leading eigenvectors; a low precision is enough, see
                :func:`learnscope.kernels.hutchinson.frobenius_norm`.
            probes: number of random vectors, 2 or more.

        Raises:
            InputError: with fewer than two probes, or no eigenvector.

        Cost: ``probes`` and up to 4 ``deflated`` products.
        """
        like, k = self._like.flatten(), min(deflated, self.shape[0])
        leading = lanczos.top_eigenpairs(
            self._flat_product, like, k, generator=generator, tolerance=1e-3, max_products=4 * k
        )
        return hutchinson.frobenius_norm(self._flat_product, leading, generator=generator, probes=probes)

    def _columns(self, vectors: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """Return vectors as [columns, n, scalars], and the shape of one number for each of them: [] or [columns]."""
        n, k = self._like.shape
        shape = tuple(vectors.shape)
        if (shape == (n, k) and self._readout.full) or (shape == (n,) and k == 1):
            return vectors.to(self._like).reshape(1, n, k), ()
        narrow = k == 1 and not self._readout.full and len(shape) == 2
        if not (narrow or (len(shape) == 3 and shape[1] == k)) or shape[0] != n or not shape[-1]:
            rows = f"[{n}, {k}]" if self._readout.full else f"[{n}]"
            raise InputError(
                f"vectors of shape {list(shape)} were given to a kernel with rows {rows}: give one of that shape, or "
                "several in a further dimension."
            )
        return vectors.to(self._like).reshape(n, k, -1).permute(2, 0, 1), shape[-1:]

    def _flat_product(self, v: Tensor) -> Tensor:
        return self._product(v.reshape(self._like.shape)).flatten()

    def _product(self, v: Tensor) -> Tensor:
        parts = [self._jacobian_product(self._transposed(u)) for u in self._weights(v)]
        if self._readout.outputs != "trace":
            return parts[0]
        return torch.stack([part[:, output] for output, part in enumerate(parts)]).sum(0)[:, None]

    def _squared_gradient(self, v: Tensor) -> Tensor:
        found = [torch.stack([g.square().sum() for g in self._transposed(u).values()]) for u in self._weights(v)]
        return torch.stack(found).sum()

    def _weights(self, v: Tensor) -> Iterator[Tensor]:
        """Yield v as weights of the model's scalars; of one output after the other where the kernel is a trace."""
        if self._readout.outputs != "trace":
            yield v
            return
        for output in range(self._scalars):
            weights = v.new_zeros(len(v), self._scalars)
            weights[:, output] = v[:, 0]
            yield weights

    def _transposed(self, u: Tensor) -> dict[str, Tensor]:
        total: dict[str, Tensor] = {}
        for x, part in zip(self._x.split(self.chunk), u.split(self.chunk), strict=True):
            found = transposed_product(self._model, x, self._readout, self._names, part)
            total = {name: total[name] + g for name, g in found.items()} if total else found
        return total

    def _jacobian_product(self, t: dict[str, Tensor]) -> Tensor:
        parts = [product(self._model, x, self._readout, t, self.way) for x in self._x.split(self.chunk)]
        return torch.cat(parts)

    def _measured(self) -> tuple[Tensor, int]:
        """Return the scalars of one example, and the bytes that differentiating them twice takes."""
        own = {p.data_ptr() for p in self._model.parameters()}
        saved: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            if tensor.data_ptr() not in own:
                saved[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            scalars = self._readout(evaluated(self._model, self._x[:1].clone()))
        return scalars.detach(), COPIES * (sum(saved.values()) + scalars.numel() * scalars.element_size())
