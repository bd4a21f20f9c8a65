"""Networks linearised in their parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from learnscope.errors import InputError
from learnscope.kernels.products import Function, Tensors, Way, agrees, directional_derivative
from learnscope.kernels.tangent.functional import call_with
from learnscope.kernels.tangent.selection import refuse_coupled

START = "_at_start"  # ends the names of the buffers that hold the parameters of the expansion
WAYS: tuple[Way, ...] = ("forward", "twice backward", "by rows")


def linearize(model: nn.Module) -> nn.Module:
    """Return the first-order Taylor expansion of a network in its parameters, f(x; θ₀) + ∂f(x; θ₀)/∂θ · (θ − θ₀).

    θ₀ are the parameters as they are now. θ are new parameters, trainable where the model's are, with the model's names
    and initially with its values; so the result equals the model at first, and its tangent kernel is that of the model
    at θ₀ wherever θ goes. The model itself is left alone.

    Args:
        model: any module that maps [n, ...] to one tensor. When it is called, modules that couple examples or draw
            random numbers must be in eval mode.

    Raises:
        InputError: at a call, for such modules in training mode.

    Cost: a forward pass takes 2 to 4 of the model's, and 7 to 10 where an operation has no forward mode; a backward
        pass about 2; memory for two copies of the parameters.

    Source: Lee, Xiao et al. 2019, section 2.2.

    Examples:
        >>> import torch
        >>> class Square(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.weight = nn.Parameter(torch.tensor(3.0))
        ...     def forward(self, x):
        ...         return self.weight**2 * x
        >>> linearised = linearize(Square())
        >>> with torch.no_grad():
        ...     _ = linearised.weight.add_(1.0)
        >>> linearised(torch.ones(1)).tolist()  # 9 + 2 · 3 · 1
        [15.0]
    """
    return _Linearised(model)


class _Linearised(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        network = copy.deepcopy(model)
        network.zero_grad()
        self._network = (network,)  # in a tuple: it lends its code, while its tensors are those registered below
        self._way: Way = "forward"
        self._trainable = [name for name, p in network.named_parameters() if p.requires_grad]
        self._fixed = [name for name, p in network.named_parameters() if not p.requires_grad]
        self._fixed += [name for name, _ in network.named_buffers()]
        for name, parameter in network.named_parameters():
            fresh = nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
            holder, own = _place(self, name)
            holder.register_parameter(own, fresh)
            if parameter.requires_grad:
                holder.register_buffer(own + START, parameter.detach())
        for name, buffer in network.named_buffers():
            holder, own = _place(self, name)
            holder.register_buffer(own, buffer)
        self.training = model.training

    def train(self, mode: bool = True) -> _Linearised:
        self._network[0].train(mode)
        return super().train(mode)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> _Linearised:
        super()._apply(fn, recurse)
        for name, parameter in self._network[0].named_parameters():  # checkpoints are computed again from these
            parameter.data = self.get_buffer(name + START) if name in self._trainable else self.get_parameter(name).data
        return self

    def forward(self, x: Tensor) -> Tensor:
        network = self._network[0]
        refuse_coupled(network)
        tensors: dict[str, Tensor] = dict(self.named_parameters()) | dict(self.named_buffers())
        at = {name: tensors[name + START] for name in self._trainable}
        along = {name: tensors[name] - start for name, start in at.items()}
        fixed = {name: tensors[name] for name in self._fixed}

        def outputs(varied: dict[str, Tensor]) -> Tensor:
            values = call_with(network, varied | fixed, x.clone())
            if not isinstance(values, Tensor):
                kind = type(values).__name__
                raise InputError(f"the model returned a {kind}: wrap it so that it returns one tensor of outputs.")
            return values

        values, derivative = self._differentiated(outputs, at, along)
        return values + derivative

    def _differentiated(self, outputs: Function, at: Tensors, along: Tensors) -> tuple[Tensor, Tensor]:
        """Differentiate in the first way that works; the next call begins with it."""
        failure: RuntimeError | None = None
        for way in WAYS[WAYS.index(self._way) :]:
            try:
                if way == "twice backward" != self._way and not agrees(outputs, at, way):
                    continue
                found = directional_derivative(outputs, at, along, way)
            except RuntimeError as error:
                failure = failure or error
                continue
            self._way = way
            return found
        assert failure is not None
        raise failure


def _place(root: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Return the module that holds what is called "features.0.weight", say, made if need be, and the last part."""
    *path, own = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    return root, own
