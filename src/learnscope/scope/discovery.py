"""Which layers are watched: found by running the model on two and on three examples."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from learnscope.errors import LayerError, nearest_names
from learnscope.scope.layers import Layer, Layout, Reduction, first_tensor

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
SAME = 1e-3  # share of the largest activation by which rows of one example may differ with the number of examples
APART = 4  # how many times closer the right order of folded rows must be than the wrong one
NOISE = 64  # times the rounding that rows of equal examples differ by


@dataclass(frozen=True, slots=True)
class _Seen:
    """The output of one call; ``rows`` is a copy of what may be folded examples, ``dtype`` None for no tensor."""

    module: str
    call: int
    shape: tuple[int, ...] = ()
    dtype: torch.dtype | None = None
    rows: Tensor | None = None

    @property
    def name(self) -> str:
        name = self.module or WHOLE
        return name if self.call == 1 else f"{name}#{self.call}"


def is_layer(module: nn.Module) -> bool:
    """Return whether a module counts as one layer: a leaf, or attention, whose children are never called.

    The modules that parametrise a weight (weight norm, spectral norm) are parts of its layer.
    """
    return isinstance(module, nn.MultiheadAttention) or all(
        name == PARAMETRIZATIONS for name, _ in module.named_children()
    )


def discover(
    model: nn.Module, run: Callable[[int], object], wanted: Selection, reduction: Reduction
) -> tuple[tuple[Layer, ...], dict[str, str]]:
    """Find the layers that run on the probe, in the order in which they run, and what is left out.

    The model runs on two and on three examples; the dimension of an output that changed is that of the examples. Where
    the leading dimension grew from 2k to 3k, k positions of each example are folded into it, in the order in which the
    rows of the first two examples stay what they were.

    Args:
        model: the module; it must be undisturbed while this runs.
        run: runs the model on the first k examples of the probe.
        wanted: names, patterns such as "block*", a predicate of (name, module), or None for all leaf modules that
            change the representation.
        reduction: how positions are reduced.

    Returns:
        The layers, and by name the reason why a module that runs is not among them.

    Raises:
        LayerError: if a name or pattern matches nothing, with the nearest names.
    """
    modules = dict(model.named_modules())
    modules = {name: module for name, module in modules.items() if PARAMETRIZATIONS not in name.split(".")}
    alone = is_layer(model)  # the model itself is the only layer
    chosen = {name: module for name, module in modules.items() if (name or alone) and _eligible(name, module, wanted)}
    seen_three = {(seen.module, seen.call): seen for seen in _watch(chosen, run, 3)}
    layers: list[Layer] = []
    left_out: dict[str, str] = {}
    for two in _watch(chosen, run, 2):
        place = _place(two, seen_three.get((two.module, two.call)))
        if isinstance(place, str):
            left_out[two.name] = place
        else:
            layers.append(_layer(two, modules[two.module], place, layers, reduction))
    selected = _select(layers, wanted, list(chosen))
    if not selected:
        raise LayerError(
            "no layer of the model gives one row of activations for each example: pass layers= with the names of "
            f"modules that do ({nearest_names('', modules)} are modules of this model)."
        )
    return tuple(selected), left_out if wanted is None or callable(wanted) else {}


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
            if tensor is None:
                seen.append(_Seen(name, calls[name]))
                return
            folded = tensor.ndim > 1 and len(tensor) > examples and len(tensor) % examples == 0
            rows = tensor.detach().clone() if folded else None  # a later in-place operation may overwrite it
            seen.append(_Seen(name, calls[name], tuple(tensor.shape), tensor.dtype, rows))

        return remember

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        run(examples)
    finally:
        for handle in handles:
            handle.remove()
    return seen


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the examples are in an output: a dimension, or folded with positions into the first."""

    batch_dim: int
    folded: int = 1
    examples_outermost: bool = True


def _place(two: _Seen, three: _Seen | None) -> _Place | str:
    """Return where the examples are, or why an output cannot be used."""
    if two.dtype is None or not (two.dtype.is_floating_point or two.dtype.is_complex):
        return f"it returns {two.dtype or 'no tensor'}"
    if three is None or len(two.shape) != len(three.shape):
        return "it runs in another way on three examples than on two"
    changed = [d for d, (a, b) in enumerate(zip(two.shape, three.shape, strict=True)) if (a, b) == (2, 3)]
    if changed and len(two.shape) > 1:
        return _Place(changed[0])
    if two.rows is None or three.rows is None or three.shape != (3 * len(two.rows) // 2, *two.shape[1:]):
        return f"no dimension of its output {list(two.shape)} for 2 examples is theirs"
    outermost = _examples_outermost(two.rows, three.rows)
    if outermost is None:
        return f"which rows of its output {list(two.shape)} for 2 examples belong to which cannot be told"
    return _Place(0, len(two.rows) // 2, outermost)


def _examples_outermost(two: Tensor, three: Tensor) -> bool | None:
    """Return whether folded rows go through the positions first, False for the examples first, None if unclear."""
    k = len(two) // 2
    outermost = float((two - three[: 2 * k]).abs().max())
    innermost = float((two.unflatten(0, (k, 2)) - three.unflatten(0, (k, 3))[:, :2]).abs().max())
    right, wrong = min(outermost, innermost), max(outermost, innermost)
    size, rounding = float(two.abs().max()), torch.finfo(two.dtype).eps
    same = right <= max(SAME, rounding) * size
    return outermost < innermost if same and wrong > max(APART * right, NOISE * rounding * size) else None


def _layer(seen: _Seen, module: nn.Module, place: _Place, before: Sequence[Layer], reduction: Reduction) -> Layer:
    assert seen.dtype is not None
    rest = [size for d, size in enumerate(seen.shape) if d != place.batch_dim]
    layout = _layout(module, len(rest), before)
    if layout == "features" and place.folded > 1:
        layout = "tokens"
    units = place.folded * math.prod(rest)
    if reduction == "mean" and layout != "features":
        units = rest[0] if layout == "channels" else rest[-1]
    name = seen.name
    while any(layer.name == name for layer in before):
        name += "'"  # a module has the name that would tell a second call
    return Layer(
        name,
        seen.module,
        seen.call,
        place.batch_dim,
        layout,
        bytes_per_example=math.prod(seen.shape) * seen.dtype.itemsize // 2,
        units=2 * units if seen.dtype.is_complex else units,
        bounds=BOUNDS.get(type(module)),
        folded=place.folded,
        examples_outermost=place.examples_outermost,
    )


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
