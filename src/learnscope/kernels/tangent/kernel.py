"""The empirical tangent kernel of any network: Θ(x, x') = J(x) J(x')ᵀ."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from learnscope.errors import InputError
from learnscope.kernels.tangent.capture import CalledDifferentlyError
from learnscope.kernels.tangent.contraction import add_kernel, add_transposed, examples_of
from learnscope.kernels.tangent.plan import METHODS, Block, Method, Plan, Sizes, make_plan
from learnscope.kernels.tangent.precision import inputs_in, model_in, undisturbed, warn_if_not_finite, working_dtype
from learnscope.kernels.tangent.remembered import remembered_plan
from learnscope.kernels.tangent.selection import Outputs, Readout, Selected, refuse_coupled, warn_of_left_out
from learnscope.memory import keep_freed_memory

DEFAULT_BUDGET = 2 * 2**30


def tangent_kernel(
    model: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    outputs: Outputs = "all",
    by_layer: bool = False,
    parameters: Selected = None,
    method: Method = "auto",
    budget: int | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor | dict[str, Tensor]:
    """Return the exact empirical tangent kernel of a network, Θ[i, j, o, p] = ⟨∂f_o(x_i)/∂θ, ∂f_p(x_j)/∂θ⟩.

    Args:
        model: any module that maps [n, ...] to one tensor [n, ...]; several output dimensions are flattened. Modules
            that couple examples or draw random numbers must be in eval mode.
        x1: [n, ...] inputs.
        x2: [n', ...] inputs, ``x1`` by default.
        outputs: "all" keeps both output dimensions; "trace" sums Θ[..., o, o] over outputs; "sum" is the kernel of the
            sum of outputs (called pseudo-kernel, an approximation of the trace over their number); an index or a
            function from outputs to [n] is the kernel of one scalar.
        by_layer: return a dictionary from each layer's name to its part; the parts sum to the whole.
        parameters: names or patterns, or a predicate of (name, parameter); all by default. Those that do not require
            gradients are left out, and named in a :class:`~learnscope.errors.LeftOutWarning`; choose
            ``lambda name, parameter: parameter.requires_grad`` to leave them out without one.
        method: how layers are contracted. "layerwise" multiplies the Gram matrices of a layer's inputs and of its
            output gradients; at several positions this is a sum over pairs of them, "positions". "jacobian" forms each
            layer's Jacobian. "functional" leaves all to ``torch.func``. "auto" takes the cheapest for each layer.
            Layers that are not proven to be sums of such products are left to ``torch.func`` by every method: other
            classes, tied weights, modules called twice or for some examples only, weights that are used elsewhere.
        budget: bytes of memory beyond the result and the model; 2 GiB by default.
        dtype: of the computation and the result; by default that of the model, but float32 for half precision.

    Returns:
        [n, n', o, o] for "all", a view of the matrix [n o, n' o]; else [n, n']. On the device of the model, and exactly
        symmetric if ``x2`` is None.

    Raises:
        InputError: for modules in training mode that couple examples, or outputs that hang on others or on chance;
            outputs that are not a tensor; integers that the model does not take; a selection that matches nothing or
            is out of range.
        BudgetError: if the budget is too small for one pair of examples, with the least that works.

    Cost: with [FP] a forward pass, o outputs and a layer of a × b weights at t positions: o [FP] an example, again for
        each block of rows that the budget allows; and for each pair o² b + a layerwise, o² a b by Jacobians,
        t² (a + o b) + t o² b by positions; for the trace o b + a, o a b and t² (a + o b). Half of the pairs are
        computed if ``x2`` is None. Nothing of size n · parameters is held, only blocks of examples.

    Source: Jacot, Gabriel, Hongler 2018; the structured contractions follow Novak, Sohl-Dickstein, Schoenholz 2022.

    Examples:
        >>> layer = nn.Linear(3, 2, bias=False)
        >>> x = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
        >>> kernel = tangent_kernel(layer, x)  # (x · x') times the identity of the outputs
        >>> kernel[0, 1].tolist()
        [[2.0, 0.0], [0.0, 2.0]]
    """
    expected = x1 if x2 is None or len(x1) >= len(x2) else x2
    prepared = TangentKernel(
        model, expected, outputs=outputs, by_layer=by_layer, parameters=parameters, method=method, dtype=dtype
    )
    return prepared(x1, x2, budget=budget)


class TangentKernel:
    """The tangent kernel of a network, prepared for many evaluations: at every step of a training, say.

    What :func:`tangent_kernel` finds out first, which layers have structure and how each is best contracted, is found
    out once; for small networks that takes as long as the kernel. The parameters are looked at in each call.

    Args:
        model: as in :func:`tangent_kernel`, like the arguments not listed here. It may train on, but not change what it
            does with its parameters, nor which of them require gradients.
        x: [n, ...] examples like those to come, about as many; the proof of the layers rests on the first two.

    Raises:
        InputError: as :func:`tangent_kernel`.

    Examples:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> kernel = TangentKernel(layer, torch.ones(1, 2))
        >>> kernel(torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 1.0]])).flatten().tolist()
        [7.0]
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        *,
        outputs: Outputs = "all",
        by_layer: bool = False,
        parameters: Selected = None,
        method: Method = "auto",
        dtype: torch.dtype | None = None,
    ) -> None:
        if method not in METHODS:
            raise InputError(f"method {method!r} is not known: choose one of {', '.join(METHODS)}.")
        keep_freed_memory()
        self._model, self._by_layer, self._dtype = model, by_layer, working_dtype(model, dtype)
        self._readout, self._parameters = Readout(outputs), parameters
        self._method: Method = method
        self._general: frozenset[str] = frozenset()
        x = inputs_in(x, self._dtype)
        with undisturbed(x):
            plan = remembered_plan(model_in(model, self._dtype), x, outputs, parameters, method)
        warn_of_left_out(plan.parameters)
        self._plan = plan

    def __call__(
        self, x1: Tensor, x2: Tensor | None = None, *, budget: int | None = None
    ) -> Tensor | dict[str, Tensor]:
        """Return the kernel of the parameters as they are now; as :func:`tangent_kernel`."""
        if not len(x1) or (x2 is not None and not len(x2)):
            raise InputError("there are no inputs: give at least one example.")
        refuse_coupled(self._model)
        x1, x2 = inputs_in(x1, self._dtype), None if x2 is None else inputs_in(x2, self._dtype)
        with undisturbed(x1):
            model, budget = model_in(self._model, self._dtype), DEFAULT_BUDGET if budget is None else budget
            kernel = self._computed(model, x1, x2, budget)
        warn_if_not_finite(kernel, self._model)
        return kernel

    def _computed(self, model: nn.Module, x1: Tensor, x2: Tensor | None, budget: int) -> Tensor | dict[str, Tensor]:
        """Return the kernel; layers that are called otherwise than at first are left to ``torch.func`` from then on."""
        while True:
            try:
                return _computed(self._plan, model, x1, x2, budget, self._by_layer)
            except CalledDifferentlyError as found:
                self._general |= found.layers
                self._plan = make_plan(model, x1, self._readout, self._parameters, self._method, self._general)


def _computed(
    plan: Plan, model: nn.Module, x1: Tensor, x2: Tensor | None, budget: int, by_layer: bool
) -> Tensor | dict[str, Tensor]:
    """Add the kernel up block by block: each block of rows is kept while columns pass by."""
    n, m = len(x1), len(x1 if x2 is None else x2)
    turns = plan.turns(n, m, budget, symmetric=x2 is None)
    kernel = _Kernel(plan, next(model.parameters()), n, m, by_layer)
    for turn in turns:
        blocks = partial(plan.only(turn.parts).block, model, piece=turn.sizes.piece)
        for i in range(0, n, turn.sizes.rows):
            _add_rows(kernel, blocks, turn.sizes, x1, x2, i)
    return kernel.result(symmetric=x2 is None)


def _add_rows(
    kernel: _Kernel, blocks: Callable[[Tensor], Block], sizes: Sizes, x1: Tensor, x2: Tensor | None, i: int
) -> None:
    """Add what the rows that begin at example i contribute; no two blocks of columns are held at once."""
    rows = blocks(x1[i : i + sizes.rows])
    if x2 is None:
        kernel.add(rows, rows, i, i, sizes.scratch, triangular=True)
    others, start = (x1, i + sizes.rows) if x2 is None else (x2, 0)
    for j in range(start, len(others), sizes.columns):
        kernel.add(rows, blocks(others[j : j + sizes.columns]), i, j, sizes.scratch)


class _Kernel:
    """The kernel between n and m examples as a matrix, or one for each layer, to which parts are added.

    Memory: the result; :meth:`result` returns a view of it.
    """

    def __init__(self, plan: Plan, parameter: Tensor, n: int, m: int, by_layer: bool) -> None:
        self.plan, self.counts, self.by_layer = plan, (n, m), by_layer
        self.each = plan.scalars if plan.readout.full else 1
        shape = (n * self.each, m * self.each)
        names = plan.layers() if by_layer else [""]
        self.parts = {name: torch.zeros(shape, dtype=parameter.dtype, device=parameter.device) for name in names}

    def add(self, rows: Block, columns: Block, i: int, j: int, scratch: int, *, triangular: bool = False) -> None:
        """Add what two blocks that begin at examples i and j contribute."""
        for name, first in rows.items():
            part = self.parts[self.plan.layer_of(name) if self.by_layer else ""]
            second = columns[name]
            stop = i + examples_of(first), j + examples_of(second)
            add_kernel(
                part[i * self.each : stop[0] * self.each, j * self.each : stop[1] * self.each],
                first,
                second,
                self.plan.ways.get(name, "jacobian"),
                scratch,
                trace=not self.plan.readout.full,
                triangular=triangular,
            )

    def result(self, *, symmetric: bool) -> Tensor | dict[str, Tensor]:
        """Return the kernels; of symmetric ones, only what is above the diagonal has been added."""
        for part in self.parts.values():
            if symmetric:
                add_transposed(part)
        shaped = {name: self._shaped(part) for name, part in self.parts.items()}
        return shaped if self.by_layer else shaped[""]

    def _shaped(self, part: Tensor) -> Tensor:
        (n, m), k = self.counts, self.each
        return part.view(n, k, m, k).transpose(1, 2) if self.plan.readout.full else part
