"""Products of matrices with all digits of their precision, whatever the caller has permitted, and as fast as can be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learnscope.threads import libraries

# Of fewer multiplications, what oneDNN does besides would be a good part, and of narrower squares what it does twice.
LARGE, NARROW = 2**20, 256
# What may be permitted of products without a loss of digits.
USUAL = ("none", "ieee", "highest")
# Of fewer multiplications on one thread, torch has less to do besides than NumPy.
SMALL = 2**18
# Kernels of OpenBLAS with vectors of 64 bytes.
WIDE = {"SkylakeX", "Cooperlake", "SapphireRapids"}
# Values of a result that oneDNN gives at a time where they have to be copied: these stay in the cache.
PIECE = 2**18
# Columns of a square at a time: nothing is computed below its diagonal, but for squares of that size.
COLUMNS = 168
# Examples whose float32 products are summed before float64 takes over.
CHUNK = 1024


def product(a: Tensor, b: Tensor, *, plus: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """Return a bᵀ + c of [m, d] and [n, d], float32 or float64: [m, n], every sum with the error of its dtype.

    Rounding is at most (d + 1) u (Σ |aₗ bₗ| + |c|), in whatever order terms are added: no TF32, bfloat16 or autocast.
    On one thread of a CPU all but small ones come from NumPy's library, as torch's is half as fast on some processors,
    and computes a aᵀ twice; on more, where the threads of both would get into each other's way, those in float32 come
    from oneDNN, and also on one where NumPy's library knows but half of the processor's vectors.

    Args:
        a: [m, d].
        b: [n, d].
        plus: [n] c.
        out: [m, n] takes the result.

    Cost: m n d multiplications.

    Examples:
        >>> product(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]), plus=torch.tensor([0.0, 1.0]))
        tensor([[11., 18.]])
    """
    onednn = _suits_onednn(a, b)
    if not onednn and a.numel() * b.shape[0] >= SMALL and _on_one_thread(a):
        out = a.new_empty(len(a), len(b)) if out is None else out
        # Kernels may multiply what lies beside the numbers, and warn of it.
        with np.errstate(all="ignore"):
            np.matmul(_in_order(a), _in_order(b).T, out=out.numpy())
        return out if plus is None else out.add_(plus)
    device = a.device.type
    permitted, autocast = _permitted(device), torch.is_autocast_enabled(device)
    if not autocast and permitted in USUAL:
        return _multiplied(a, b, plus, out, onednn=onednn)
    with _all_digits(device, permitted, autocast=autocast):
        return _multiplied(a, b, plus, out, onednn=onednn)


def _multiplied(a: Tensor, b: Tensor, plus: Tensor | None, out: Tensor | None, *, onednn: bool) -> Tensor:
    """Return a bᵀ + c by oneDNN or by torch."""
    if not onednn:
        return torch.mm(a, b.mT, out=out) if plus is None else torch.addmm(plus, a, b.mT, out=out)
    if out is None:
        return _by_onednn(a, b, plus)
    columns = max(1, PIECE // len(a))
    for start in range(0, len(b), columns):
        part = slice(start, start + columns)
        out[:, part] = _by_onednn(a, b[part], None if plus is None else plus[part])
    return out


def _by_onednn(a: Tensor, b: Tensor, plus: Tensor | None) -> Tensor:
    """Return a bᵀ + c by what compiled models call; ``linear`` takes tensors of oneDNN's own, which are copies."""
    b = b if b.is_contiguous() or b.mT.is_contiguous() else b.contiguous()  # else it takes a thousand times as long
    return torch.ops.mkldnn._linear_pointwise.default(a, b, plus, "none", [], "")


def add_square(sums: Tensor, x: Tensor, memory: Tensor) -> None:
    """Add xᵀx of [n, d] to sums [d, d], in their dtype, at least on and above the diagonal.

    Args:
        sums: [d, d], which are changed.
        x: [n, d].
        memory: [n d or more] of the same dtype, for what is forgotten; to ask for it anew each time would take a
            fifth of the time.

    Cost: n d²/2 multiplications and a square beside the sums where NumPy's library computes, else n d (d + 168)/2.

    Examples:
        >>> sums = torch.ones(2, 2)
        >>> add_square(sums, torch.tensor([[2.0, 3.0]]), torch.empty(2))
        >>> sums.triu()
        tensor([[ 5.,  7.],
                [ 0., 10.]])
    """
    if _on_one_thread(x) and not (x.shape[1] > NARROW and _suits_onednn(x.mT[:COLUMNS], x.mT)):
        rows = _in_order(x)
        # NumPy sees that both are one matrix, and computes half of the square; SciPy's would keep Python's lock.
        with np.errstate(all="ignore"):
            sums.add_(torch.from_numpy(np.matmul(rows.T, rows)))
        return
    columns = memory[: x.numel()].view(x.shape[1], len(x)).copy_(x.mT)
    for start in range(0, len(columns), COLUMNS):
        square = slice(start, start + COLUMNS)
        # `sums[...] += ...` would copy the sum once more
        sums[square, start:].add_(product(columns[square], columns[start:]))


def product_over_examples(x: Tensor, y: Tensor) -> Tensor:
    """Return XᵀY float64 of [n, d₁] and [n, d₂]; products of 1,024 examples are made in their dtype: [d₁, d₂].

    Examples:
        >>> product_over_examples(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]]))
        tensor([[11.]], dtype=torch.float64)
    """
    found = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64, device=x.device)
    for left, right in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
        found += product(left.mT, right.mT)
    return found


def _on_one_thread(x: Tensor) -> bool:
    """Return whether torch would compute with one thread of a CPU, in a dtype that NumPy's library has."""
    return x.device.type == "cpu" and torch.get_num_threads() == 1 and x.dtype in (torch.float32, torch.float64)


def _in_order(x: Tensor) -> np.ndarray:
    """Return a matrix whose rows or columns lie in one piece each: without, NumPy would multiply number by number."""
    one = any(x.stride(k) == 1 and x.stride(1 - k) >= max(1, x.shape[k]) for k in (0, 1))
    return (x if one else x.contiguous()).numpy()


def _suits_onednn(a: Tensor, b: Tensor) -> bool:
    """Return whether oneDNN is there, can multiply these, and is worth it."""
    if a.dtype != torch.float32 or a.device.type != "cpu":
        return False
    large = a.numel() * b.shape[0] >= LARGE  # len() of a tensor is slow
    return large and _onednn_is_there() and (torch.get_num_threads() > 1 or _onednn_is_wider())


@cache
def _onednn_is_there() -> bool:
    """Return whether torch was built with oneDNN, and has the operator."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@cache
def _onednn_is_wider() -> bool:
    """Return whether vectors have 64 bytes here, and NumPy's library uses half of that, as OpenBLAS does on Zen 5."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    kernels = {library.get("architecture") for library in libraries().select(internal_api="openblas").info()}
    return bool(kernels) and WIDE.isdisjoint(kernels)


@contextmanager
def _all_digits(device: str, permitted: str, *, autocast: bool) -> Iterator[None]:
    """Let products have the precision of their factors, and then again what the caller permits."""
    try:
        torch.set_autocast_enabled(device, False)
        _permit(device, "ieee")
        yield
    finally:
        torch.set_autocast_enabled(device, autocast)
        _permit(device, permitted)


def _permitted(device: str) -> str:
    """Return how products in float32 may be rounded on a device."""
    rules = _rules(device)
    return torch.get_float32_matmul_precision() if rules is None else rules.fp32_precision


def _permit(device: str, precision: str) -> None:
    """Set how products in float32 may be rounded on a device."""
    rules = _rules(device)
    if rules is None:
        torch.set_float32_matmul_precision("highest" if precision == "ieee" else precision)
    else:
        rules.fp32_precision = precision


@cache
def _rules(device: str) -> Any:
    """Return what holds the precision of products on a device; None before PyTorch 2.9."""
    backend: Any = torch.backends.cuda if device == "cuda" else torch.backends.mkldnn
    return backend.matmul if hasattr(torch.backends.mkldnn, "matmul") else None
