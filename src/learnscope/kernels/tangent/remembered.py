"""The last plan of a network, kept as long as nothing can have changed what the network does.

Planning a small network takes longer than its kernel. What a plan rests on is known for PyTorch's own modules, whose
behaviour follows from their attributes; for any other class only a new look tells.
"""

from __future__ import annotations

from collections.abc import Hashable
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from learnscope.kernels.tangent.plan import Method, Plan, make_plan
from learnscope.kernels.tangent.selection import Outputs, Readout, Selected

PLANS: WeakKeyDictionary[nn.Module, tuple[Hashable, Plan]] = WeakKeyDictionary()
SIMPLE = (int, float, str, type(None))
OWN = vars(nn.Module())  # hooks, which have to be absent, and what the signature takes from elsewhere
CHILDREN = {"_parameters", "_buffers", "_modules", "training", "_non_persistent_buffers_set"}


def remembered_plan(
    model: nn.Module, x: Tensor, outputs: Outputs, parameters: Selected = None, method: Method = "auto"
) -> Plan:
    """Return what :func:`~learnscope.kernels.tangent.plan.make_plan` does; the last time's if that must be the same.

    Plans with layers that are not proven to have structure are made anew each time, for inputs may be the reason.
    """
    readout = Readout(outputs)
    known = _signature(model), _simple(outputs), _simple(parameters)
    if NotImplemented in known:
        return make_plan(model, x, readout, parameters, method)
    key = (*known, x.shape, x.dtype, x.device, method)
    kept = PLANS.get(model)
    if kept is not None and kept[0] == key:
        return kept[1]
    plan = make_plan(model, x, readout, parameters, method)
    if not plan.rest:
        PLANS[model] = key, plan
    return plan


def _signature(model: nn.Module) -> Hashable:
    """Return all that tells what PyTorch's own modules do, but the numbers; NotImplemented for others."""
    if _has_any_global_hook():
        return NotImplemented
    places: dict[int, int] = {}
    modules = []
    for name, module in model.named_modules(remove_duplicate=False):
        attributes = _attributes(module)
        if attributes is NotImplemented:
            return NotImplemented
        own = tuple(
            (key, p if p is None else (places.setdefault(id(p), len(places)), *_looks(p)))
            for held in (module._parameters, module._buffers)
            for key, p in held.items()
        )
        modules.append((name, type(module), type(module).forward, module.training, attributes, own))
    return tuple(modules)


def _looks(tensor: Tensor) -> tuple[Hashable, ...]:
    """Return all about a tensor but its numbers."""
    return type(tensor), tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad


def _attributes(module: nn.Module) -> Hashable:
    """Return the attributes of one of PyTorch's own modules; NotImplemented if it is another or has hooks."""
    if getattr(nn, type(module).__name__, None) is not type(module):
        return NotImplemented
    found = []
    for name, value in vars(module).items():
        if name in CHILDREN:
            continue
        if name in OWN:
            if value:
                return NotImplemented
            continue
        simple = _simple(value)
        if simple is NotImplemented:
            return None
        found.append((name, simple))
    return tuple(found)


def _simple(value: object) -> Hashable:
    """Return a value that cannot change, or what a list holds now; NotImplemented for anything else."""
    if isinstance(value, SIMPLE):
        return value
    if isinstance(value, (list, tuple)):
        parts = tuple(map(_simple, value))
        return NotImplemented if NotImplemented in parts else parts
    return NotImplemented
