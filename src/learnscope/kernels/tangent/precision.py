"""In which numbers a kernel is computed."""

from __future__ import annotations

import copy
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn


def working_dtype(model: nn.Module, asked: torch.dtype | None) -> torch.dtype | None:
    """Return the dtype to convert to, None for that of the model: what is asked for, or float32 for half precision.

    Half precision is too coarse for sums of products of gradients; that it is left is said in a warning.
    """
    own = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    if asked is None and own in (torch.float16, torch.bfloat16):
        warnings.warn(f"the model is in {own}: its tangent kernel is computed in float32", UserWarning, stacklevel=4)
        return torch.float32
    return asked


def model_in(model: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    """Return a copy of the model in a dtype, or the model itself if it is in it."""
    if dtype is None or all(p.dtype == dtype for p in model.parameters() if p.is_floating_point()):
        return model
    return copy.deepcopy(model).to(dtype)


def inputs_in(x: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return inputs in a dtype; integers stay what they are."""
    return x.to(dtype) if dtype is not None and x.is_floating_point() else x


@contextmanager
def undisturbed(x: Tensor) -> Iterator[None]:
    """Compute in the dtypes of the inputs, with gradients, and by no compiled code, whatever the caller does."""
    inference, autocast = torch.is_inference_mode_enabled(), torch.is_autocast_enabled(x.device.type)
    may_compile = "torch._dynamo" in sys.modules  # nothing is compiled without, and it takes seconds to import
    if torch.is_grad_enabled() and not (inference or autocast or may_compile):
        yield
        return
    eager = torch.compiler.set_stance("force_eager") if may_compile else nullcontext()
    with eager, torch.autocast(x.device.type, enabled=False), torch.inference_mode(False):
        yield


def warn_if_not_finite(kernel: Tensor | dict[str, Tensor], model: nn.Module) -> None:
    """Warn if a kernel holds NaN or infinite numbers, naming the first parameter or buffer of the model that does."""
    if all(map(_is_finite, kernel.values() if isinstance(kernel, dict) else [kernel])):
        return
    named = (*model.named_parameters(), *model.named_buffers())
    cause = next((name for name, each in named if each.is_floating_point() and not _is_finite(each)), None)
    why = (
        "but no parameter or buffer of the model does: look at the inputs, or use dtype=torch.float64"
        if cause is None
        else f"and so does {cause!r} of the model"
    )
    warnings.warn(f"the tangent kernel holds NaN or infinite numbers, {why}", UserWarning, stacklevel=4)


def _is_finite(tensor: Tensor) -> bool:
    quickly = math.isfinite(float(tensor.detach().sum()))  # but a sum may overflow
    return quickly or bool(torch.isfinite(tensor).all())
