"""Which layers are watched, and how their activations become features."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from learnscope.errors import InputError, LayerError, nearest_names

Layout = Literal["features", "channels", "tokens"]
Reduction = Literal["mean", "flatten"]
Selection = str | Iterable[str] | Callable[[str, nn.Module], bool] | None

# layers that only rearrange, or that do nothing in evaluation mode
UNCHANGING = (
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.modules.dropout._DropoutNd,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
)
CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
)
TOKENS = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.MultiheadAttention, nn.RNNBase)
BOUNDS: dict[type[nn.Module], tuple[float, float]] = {
    nn.Tanh: (-1.0, 1.0),
    nn.Sigmoid: (0.0, 1.0),
    nn.Softsign: (-1.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
    nn.ReLU6: (0.0, 6.0),
}


PARAMETRIZATIONS = "parametrizations"
WHOLE = "model"  # name of the layer when the model is a single one


@dataclass(frozen=True, slots=True)
class Layer:
    """One call of one module, as it was seen on the probe.

    Attributes:
        name: the module's name, with "#2", "#3", ... for a module that is called again.
        module: the module's name.
        call: which of its calls, from 1.
        batch_dim: the dimension of its output that holds the examples.
        layout: how the other dimensions are to be read.
        bytes_per_example: size of its output for one example.
        units: number of features after the reduction.
        bounds: range of a bounded activation function.
    """

    name: str
    module: str
    call: int
    batch_dim: int
    layout: Layout
    bytes_per_example: int
    units: int
    bounds: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class _Seen:
    module: str
    call: int
    shape: tuple[int, ...]
    bytes: int


def is_layer(module: nn.Module) -> bool:
    """Return whether a module counts as one layer: a leaf, or attention, whose children are never called.

    The modules that parametrise a weight (weight norm, spectral norm) are parts of its layer.
    """
    return isinstance(module, nn.MultiheadAttention) or all(
        name == PARAMETRIZATIONS for name, _ in module.named_children()
    )


def first_tensor(output: Any) -> Tensor | None:
    """Return a module's output, or the first tensor in a tuple of outputs."""
    if isinstance(output, (tuple, list)) and output:
        return first_tensor(output[0])
    return output if isinstance(output, Tensor) else None


def discover(
    model: nn.Module, run: Callable[[int], object], wanted: Selection, reduction: Reduction
) -> tuple[Layer, ...]:
    """Find the layers that run on the probe, in the order in which they run.

    The model runs on two and on three examples; the dimension of an output that changed is that of the examples,
    and outputs that do not depend on the number of examples are left out.

    Args:
        model: the module; it must be undisturbed while this runs.
        run: runs the model on the first k examples of the probe.
        wanted: names, patterns such as "block*", a predicate of (name, module), or None for all leaf modules that
            change the representation.
        reduction: how positions are reduced.

    Raises:
        LayerError: if a name or pattern matches nothing, with the nearest names.
    """
    modules = dict(model.named_modules())
    modules = {name: module for name, module in modules.items() if PARAMETRIZATIONS not in name.split(".")}
    alone = is_layer(model)  # the model itself is the only layer
    chosen = {name: module for name, module in modules.items() if (name or alone) and _eligible(name, module, wanted)}
    seen_two, seen_three = _watch(chosen, run, 2), _watch(chosen, run, 3)
    layers: list[Layer] = []
    for two, three in zip(seen_two, seen_three, strict=False):
        changed = [d for d, (a, b) in enumerate(zip(two.shape, three.shape, strict=False)) if (a, b) == (2, 3)]
        if len(two.shape) != len(three.shape) or not changed or len(two.shape) < 2:
            continue
        module = modules[two.module]
        layers.append(_layer(two, module, changed[0], layers, reduction))
    selected = _select(layers, wanted, list(chosen))
    if not selected:
        raise LayerError(
            "no layer of the model gives one row of activations for each example: pass layers= with the names of "
            f"modules that do ({nearest_names('', modules)} are modules of this model)."
        )
    return tuple(selected)


def _eligible(name: str, module: nn.Module, wanted: Selection) -> bool:
    if wanted is None:
        return is_layer(module) and not isinstance(module, UNCHANGING)
    if callable(wanted):
        return bool(wanted(name, module))
    return True


def _watch(modules: dict[str, nn.Module], run: Callable[[int], object], examples: int) -> list[_Seen]:
    seen: list[_Seen] = []
    calls: dict[str, int] = {}

    def hook(name: str) -> Callable[..., None]:
        def remember(module: nn.Module, arguments: object, output: object) -> None:
            calls[name] = calls.get(name, 0) + 1
            tensor = first_tensor(output)
            if tensor is not None and tensor.is_floating_point():
                seen.append(_Seen(name, calls[name], tuple(tensor.shape), tensor.numel() * tensor.element_size()))

        return remember

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        run(examples)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _layer(seen: _Seen, module: nn.Module, batch_dim: int, before: Sequence[Layer], reduction: Reduction) -> Layer:
    rest = [size for d, size in enumerate(seen.shape) if d != batch_dim]
    layout = _layout(module, len(rest), before)
    units = int(torch.Size(rest).numel())
    if reduction == "mean" and layout != "features":
        units = rest[0] if layout == "channels" else rest[-1]
    name = seen.module or WHOLE
    name = name if seen.call == 1 else f"{name}#{seen.call}"
    while any(layer.name == name for layer in before):
        name += "'"  # a module has the name that would tell a second call
    return Layer(name, seen.module, seen.call, batch_dim, layout, seen.bytes // 2, units, BOUNDS.get(type(module)))


def _layout(module: nn.Module, other_dims: int, before: Sequence[Layer]) -> Layout:
    if other_dims == 1:
        return "features"
    if isinstance(module, CHANNELS_FIRST):
        return "channels"
    if isinstance(module, TOKENS):
        return "tokens"
    # an activation function keeps the layout of the layer that feeds it
    if before and before[-1].layout != "features":
        return before[-1].layout
    return "tokens" if other_dims == 2 else "channels"


def _select(layers: list[Layer], wanted: Selection, known: list[str]) -> list[Layer]:
    if wanted is None or callable(wanted):
        return layers
    patterns = [wanted] if isinstance(wanted, str) else list(wanted)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise LayerError(f"layers is {wanted!r}: name layers by strings, patterns, or a predicate of (name, module).")
    if not patterns:
        raise LayerError("layers is empty: name at least one layer, or leave it out for all of them.")
    for pattern in patterns:
        if not any(_matches(layer, pattern) for layer in layers):
            _explain_no_match(pattern, layers, known)
    return [layer for layer in layers if any(_matches(layer, pattern) for pattern in patterns)]


def _matches(layer: Layer, pattern: str) -> bool:
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for name in (layer.name, layer.module))


def _explain_no_match(pattern: str, layers: list[Layer], known: list[str]) -> None:
    if pattern in known:
        raise LayerError(
            f"layer {pattern!r} is in the model but was never called on the probe, or does not return one row for each "
            f"example: choose among {nearest_names(pattern, [layer.name for layer in layers])}."
        )
    raise LayerError(
        f"no layer matches {pattern!r}: the nearest names are "
        f"{nearest_names(pattern, [layer.name for layer in layers])}."
    )


def as_units(output: Tensor, layer: Layer) -> Tensor:
    """Return a layer's output as [n, units, positions]; the positions of plain features are one."""
    output = output.movedim(layer.batch_dim, 0)
    if layer.layout == "features":
        return output.unsqueeze(-1)
    if layer.layout == "tokens":
        return output.flatten(1, -2).transpose(1, 2)
    return output.flatten(2)


def as_features(units: Tensor, reduction: Reduction) -> Tensor:
    """Return features [n, features] from [n, units, positions], by the mean over positions or by flattening."""
    if units.dtype in (torch.float16, torch.bfloat16):
        units = units.float()
    if units.shape[-1] == 1:
        return units[..., 0].clone()
    return units.mean(-1) if reduction == "mean" else units.flatten(1).clone()


def checked_reduction(reduction: str) -> Reduction:
    """Return the reduction, or raise with the two that exist."""
    if reduction == "mean" or reduction == "flatten":
        return reduction
    raise InputError(
        f"positions is {reduction!r}, but activations at many positions are reduced by 'mean' or 'flatten'."
    )
