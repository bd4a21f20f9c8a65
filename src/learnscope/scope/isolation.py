"""Looking at a network without leaving a trace."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

Kind = TypeVar("Kind")
CPU = torch.device("cpu")
_callers_device: ContextVar[torch.device | None] = ContextVar("_callers_device", default=None)


def original_module(model: nn.Module) -> nn.Module:
    """Return the module that ``torch.compile`` wrapped, or the model itself."""
    inner = getattr(model, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else model


@contextmanager
def aside() -> Iterator[None]:
    """Compute beside the caller's work: no gradients, :func:`plainly`, and every global random state put back after.

    The random states are those of Python, NumPy, and torch on every device, also when an exception passes.
    """
    with _random_states_kept(), torch.no_grad(), plainly():
        yield


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluate the model in here, :func:`aside`; afterwards nothing about it has changed.

    Inside: evaluation mode (set flag by flag, so that an overridden ``train`` method is not called), the caller's
    default device, no compiled code, and no fused attention path, both of which bypass the children that hooks are on.
    Put back, also when an exception passes: every attribute of every module (its mode, counters, cached activations),
    the values of the dense tensors among buffers and attributes, and the states of ``torch.Generator`` objects that a
    module holds. What a forward pass changes inside other objects that a module holds is out of reach, and the
    caller's own hooks do run.

    Cost: one copy of the buffers and of tensors that are plain attributes.
    """
    modules = list(model.modules())
    attributes = [(module, dict(vars(module)), dict(module._buffers)) for module in modules]
    tensors = [tensor for tensor in (*model.buffers(), *held(model, Tensor)) if _is_state(tensor)]
    values = [tensor.detach().clone() for tensor in tensors]
    generators = list(held(model, torch.Generator))
    states = [generator.get_state() for generator in generators]
    fused_attention = torch.backends.mha.get_fastpath_enabled()
    device = _callers_device.get() or torch.get_default_device()
    with aside(), _eager(), _new_tensors_on(device):
        try:
            for module in modules:
                module.training = False
            torch.backends.mha.set_fastpath_enabled(False)
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused_attention)
            for module, saved, saved_buffers in attributes:
                vars(module).clear()
                vars(module).update(saved)
                module._buffers.clear()
                module._buffers.update(saved_buffers)
            for tensor, value in zip(tensors, values, strict=True):
                if not _same(tensor, value):
                    tensor.resize_(value.shape).copy_(value)
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)


def _is_state(tensor: Tensor) -> bool:
    # recurrent layers list their parameters a second time
    return tensor.layout == torch.strided and not isinstance(tensor, nn.Parameter)


def held(model: nn.Module, kind: type[Kind]) -> Iterator[Kind]:
    """Yield objects of a kind that modules hold as plain attributes, also inside lists, tuples and dicts.

    Parameters, buffers and submodules are no plain attributes.
    """
    for module in model.modules():
        for name, value in vars(module).items():
            if name in ("_parameters", "_buffers", "_modules"):
                continue
            values = value.values() if isinstance(value, dict) else value
            parts = values if isinstance(value, (list, tuple, dict)) else [value]
            yield from (part for part in parts if isinstance(part, kind))


@contextmanager
def _eager() -> Iterator[None]:
    """Run compiled parts of a model as they were written; a process that never compiled anything is left alone."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def _same(a: Tensor, b: Tensor) -> bool:
    # NaN counts as equal to itself, or a tensor that holds NaN would be written at every look
    return a.shape == b.shape and bool(torch.equal(a, b) or torch.isclose(a, b, 0, 0, equal_nan=True).all())


@contextmanager
def _random_states_kept() -> Iterator[None]:
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's, not ours
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)  # noqa: NPY002


@contextmanager
def plainly() -> Iterator[None]:
    """Compute in the dtype of the tensors and make new ones on the CPU, whatever the caller's autocast and default."""
    token = _callers_device.set(_callers_device.get() or torch.get_default_device())
    try:
        with _without_autocast(), _new_tensors_on(CPU):
            yield
    finally:
        _callers_device.reset(token)


@contextmanager
def as_the_caller() -> Iterator[None]:
    """Make new tensors on the caller's default device, as a model expects, within work that is done :func:`plainly`."""
    with _new_tensors_on(_callers_device.get() or torch.get_default_device()):
        yield


@contextmanager
def _new_tensors_on(device: torch.device) -> Iterator[None]:
    if torch.get_default_device() == device:
        yield  # entering a device costs every call of torch a little
        return
    with device:
        yield


@contextmanager
def _without_autocast() -> Iterator[None]:
    with torch.autocast("cpu", enabled=False):
        if torch.cuda.is_available():
            with torch.autocast("cuda", enabled=False):
                yield
        else:
            yield
