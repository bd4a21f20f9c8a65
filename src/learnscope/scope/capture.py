"""Running a model over the probe in chunks and collecting the activations of chosen layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from learnscope.errors import BudgetError
from learnscope.observables.units import UnitStatistics, merged, unit_statistics
from learnscope.scope.forward import Forward
from learnscope.scope.layers import Layer, Reduction, as_features, as_units, first_tensor

# bytes of a chunk's largest output; on a CPU few enough to stay in the cache until their statistics are taken, and in
# memory that training has used before, because a new page takes longer to get than to compute on
LARGEST_OUTPUT, LARGEST_OUTPUT_ON_CPU = 16 * 2**20, 6 * 2**20
LEAST_CHUNK = 16
WORKING_COPIES = 4  # outputs of the largest layer that live at once in a forward pass and its statistics


@dataclass
class Captured:
    """What one pass over the probe brought.

    Attributes:
        outputs: [n, outputs].
        features: by layer, [n, units].
        units: by layer.
    """

    outputs: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)
    units: dict[str, UnitStatistics] = field(default_factory=dict)


def chunk_size(layers: Sequence[Layer], budget: int, n: int, device: str = "cpu") -> int:
    """Return how many examples go through the model at once: half of the budget over 4 copies of the largest layer.

    Fewer where that is as fast or faster: a largest output of 16 MiB, or 6 MiB on a CPU, but at least 16 examples.

    Raises:
        BudgetError: if one example does not fit, with the least budget that works.
    """
    largest = max((layer.bytes_per_example for layer in layers), default=1)
    rows = budget // (2 * WORKING_COPIES * max(largest, 1))
    if rows < 1:
        raise BudgetError(
            f"budget is {budget} bytes, but one example of the largest layer needs {2 * WORKING_COPIES * largest}: "
            "raise budget to at least that, or choose other layers."
        )
    enough = LARGEST_OUTPUT_ON_CPU if device == "cpu" else LARGEST_OUTPUT
    return min(n, rows, max(LEAST_CHUNK, enough // max(largest, 1)))


def layer_groups(layers: Sequence[Layer], budget: int, n: int) -> list[list[Layer]]:
    """Split layers into consecutive groups whose features [n, units] in float32 fit into half of the budget.

    Raises:
        BudgetError: if one layer alone does not fit, with the least budget that works.
    """
    groups: list[list[Layer]] = []
    room = 0
    for layer in layers:
        size = 4 * n * layer.units
        if 2 * size > budget:
            raise BudgetError(
                f"budget is {budget} bytes, but the features of layer {layer.name!r} on {n} examples need {2 * size}: "
                "raise budget to at least that, use fewer probe examples, or positions='mean'."
            )
        if size > room:
            groups.append([])
            room = budget // 2
        groups[-1].append(layer)
        room -= size
    return groups


def capture(forward: Forward, layers: Sequence[Layer], reduction: Reduction, rows: int) -> Captured:
    """Run the model over the probe, ``rows`` examples at a time, and collect the layers' features.

    The model must be undisturbed while this runs (see :mod:`learnscope.scope.isolation`).
    """
    parts: dict[str, list[tuple[Tensor, UnitStatistics]]] = {layer.name: [] for layer in layers}
    with _hooks(forward.model, layers, reduction, parts) as restart:
        captured = Captured(forward(0, forward.probe.n, rows, restart))
    for name, chunks in parts.items():
        if not chunks:  # it was not called
            continue
        captured.features[name] = torch.cat([features for features, _ in chunks])
        captured.units[name] = merged([statistics for _, statistics in chunks])
    return captured


@contextmanager
def _hooks(
    model: nn.Module,
    layers: Sequence[Layer],
    reduction: Reduction,
    parts: dict[str, list[tuple[Tensor, UnitStatistics]]],
) -> Iterator[Callable[[], None]]:
    calls: dict[str, int] = {}
    wanted = {(layer.module, layer.call): layer for layer in layers}

    def hook(module_name: str) -> Callable[..., None]:
        def collect(module: nn.Module, arguments: object, output: object) -> None:
            calls[module_name] = calls.get(module_name, 0) + 1
            layer = wanted.get((module_name, calls[module_name]))
            tensor = first_tensor(output)
            if layer is not None and tensor is not None:
                units = as_units(tensor.detach(), layer)
                # reduced at once: a later in-place operation may overwrite the output
                parts[layer.name].append((as_features(units, reduction), unit_statistics(units, layer.bounds)))

        return collect

    modules = dict(model.named_modules())
    handles = [modules[name].register_forward_hook(hook(name)) for name in dict.fromkeys(k[0] for k in wanted)]
    try:
        yield calls.clear
    finally:
        for handle in handles:
            handle.remove()
