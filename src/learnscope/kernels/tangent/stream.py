"""Kernels too large for memory: tile by tile into a Zarr array, on one process or many, taken up where they stopped."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from learnscope.errors import InputError, StoreError
from learnscope.kernels.tangent.kernel import tangent_kernel
from learnscope.kernels.tangent.plan import Method
from learnscope.kernels.tangent.selection import Outputs, Selected

if TYPE_CHECKING:
    import zarr
    from distributed import Client

Watch = Callable[[int, int], None]
KERNEL, FINISHED = "kernel", "finished"
TILE = 2**26  # bytes


def stream_tangent_kernel(
    path: str | Path,
    model: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    outputs: Outputs = "trace",
    parameters: Selected = None,
    method: Method = "auto",
    tile: int | None = None,
    budget: int | None = None,
    dtype: torch.dtype | None = None,
    client: Client | None = None,
    watch: Watch | None = None,
) -> zarr.Array:
    """Write the tangent kernel into a Zarr array on disk, and return the array.

    Tiles that are finished are kept: after a crash or Ctrl-C the same call goes on with the others. Without ``x2`` only
    the tiles on and above the diagonal are computed.

    Args:
        path: folder of the array.
        model: as in :func:`~learnscope.kernels.tangent_kernel`, like the arguments not listed here.
        x1: [n, ...] inputs.
        x2: [n', ...] inputs, ``x1`` by default.
        outputs: as there; "trace" is the default here, for a full kernel is larger by the square of the outputs.
        parameters: as there.
        method: as there.
        tile: rows and columns of a tile; memory holds one of them, beyond the budget of its computation. By default it
            takes up to 64 MiB: 4,096 examples of a trace in float32.
        budget: as there.
        dtype: as there.
        client: a connected Dask client, whose workers then compute the tiles and write them to ``path``.
        watch: called with the number of finished tiles, and of all.

    Raises:
        InputError: as there, and for a tile that is not positive.
        StoreError: if ``path`` holds the kernel of something else, or cannot be written.

    Cost: as there, with passes over the rows and the columns of each tile: n²/tile examples in all, if the budget holds
        a tile's blocks.
    """
    import zarr

    if tile is not None and tile < 1:
        raise InputError(f"tile={tile}: a tile has at least one row.")
    first = tangent_kernel(model, x1[:1], outputs=outputs, parameters=parameters, method=method, dtype=dtype)
    assert isinstance(first, Tensor)
    others = x1 if x2 is None else x2
    tile = tile or _tile(first)
    identity = _identity(model, x1, others, outputs, parameters, first.dtype)
    group = _opened(path, identity, (len(x1), len(others), *first.shape[2:]), first.dtype, tile)
    finished = group[FINISHED]
    assert isinstance(finished, zarr.Array)
    places = [(i, j) for i in range(finished.shape[0]) for j in range(finished.shape[1]) if x2 is not None or j >= i]
    state = np.asarray(finished[:])
    missing = [place for place in places if not state[place]]
    options = {"outputs": outputs, "parameters": parameters, "method": method, "budget": budget, "dtype": dtype}
    done = len(places) - len(missing)
    watch = watch or (lambda done, total: None)
    watch(done, len(places))
    for _ in _computed(str(path), model, x1, x2, tile, missing, options, client):
        done += 1
        watch(done, len(places))
    kernel = group[KERNEL]
    assert isinstance(kernel, zarr.Array)
    return kernel


def write_tile(
    path: str,
    model: nn.Module,
    x1: Tensor,
    x2: Tensor | None,
    tile: int,
    place: tuple[int, int],
    options: dict[str, Any],
) -> tuple[int, int]:
    """Compute one tile and write it, then mark it as finished; what a worker does."""
    import zarr

    i, j = (index * tile for index in place)
    others = x1 if x2 is None else x2
    same = x2 is None and i == j
    kernel = tangent_kernel(model, x1[i : i + tile], None if same else others[j : j + tile], **options)
    assert isinstance(kernel, Tensor)
    group = zarr.open_group(path, mode="r+")
    target, finished = group[KERNEL], group[FINISHED]
    assert isinstance(target, zarr.Array)
    assert isinstance(finished, zarr.Array)
    target[i : i + tile, j : j + tile] = kernel.cpu().numpy()
    if x2 is None and not same:
        mirrored = kernel.transpose(0, 1).transpose(2, 3) if kernel.ndim == 4 else kernel.T
        target[j : j + tile, i : i + tile] = mirrored.cpu().numpy()
    finished[place] = 1
    return place


def _computed(
    path: str,
    model: nn.Module,
    x1: Tensor,
    x2: Tensor | None,
    tile: int,
    places: list[tuple[int, int]],
    options: dict[str, Any],
    client: Client | None,
) -> Any:
    if client is None:
        yield from (write_tile(path, model, x1, x2, tile, place, options) for place in places)
        return
    from distributed import as_completed

    shared = cast("list[Any]", client.scatter([model, x1, x2], broadcast=True))
    tasks = [client.submit(write_tile, path, *shared, tile, place, options, pure=False) for place in places]
    try:
        yield from (future.result() for future in as_completed(tasks))
    finally:
        client.cancel(tasks)


def _opened(path: str | Path, identity: str, shape: tuple[int, ...], dtype: torch.dtype, tile: int) -> zarr.Group:
    import zarr

    try:
        group = zarr.open_group(str(path), mode="a")
        if KERNEL not in group:
            chunks = (min(tile, shape[0]), min(tile, shape[1]), *shape[2:])
            numbers = np.dtype(str(dtype).removeprefix("torch."))
            group.create_array(KERNEL, shape=shape, chunks=chunks, dtype=numbers, fill_value=np.nan)
            tiles = (-(-shape[0] // tile), -(-shape[1] // tile))
            group.create_array(FINISHED, shape=tiles, chunks=(1, 1), dtype="uint8", fill_value=0)
            group.attrs.update({"identity": identity, "tile": tile})
    except OSError as error:
        raise StoreError(f"the kernel cannot be written to {str(path)!r} ({error.strerror or error}).") from error
    if group.attrs.get("identity") != identity or group.attrs.get("tile") != tile:
        raise StoreError(
            f"{str(path)!r} holds the kernel of another model, other inputs or other tiles: choose another folder."
        )
    return group


def _tile(kernel: Tensor) -> int:
    """Return the largest power of two of examples whose kernel is of :data:`TILE` bytes or less; 1 at least."""
    each = kernel.numel() * kernel.element_size()
    return 2 ** max(0, int(math.log2(TILE / each) / 2))


def _identity(
    model: nn.Module, x1: Tensor, x2: Tensor, outputs: Outputs, parameters: Selected, dtype: torch.dtype
) -> str:
    """Return a hash of everything that the kernel hangs on; a function is known by its name only."""
    digest = hashlib.sha256()
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers()), "x1": x1, "x2": x2}
    for name, tensor in tensors.items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    for option in (outputs, parameters, dtype):
        digest.update(repr(getattr(option, "__qualname__", option)).encode())
    return digest.hexdigest()[:16]
