"""Kernels too large for memory: tile by tile into a Zarr array, on one process or many, taken up where they stopped."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from learnscope.errors import InputError, StoreError
from learnscope.kernels.tangent.kernel import TangentKernel
from learnscope.kernels.tangent.plan import MANY, Method
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
    if tile is not None and tile < 1:
        raise InputError(f"tile={tile}: a tile has at least one row.")
    kernel = TangentKernel(model, x1[:MANY], outputs=outputs, parameters=parameters, method=method, dtype=dtype)
    one = _whole(kernel(x1[:1], budget=budget))
    others, tile = x1 if x2 is None else x2, tile or _tile(one)
    identity = _identity(model, x1, others, outputs, parameters, one.dtype)
    group = _opened(path, identity, (len(x1), len(others), *one.shape[2:]), one.dtype, tile)
    state = np.asarray(_array(group, FINISHED)[:])
    places = [(i, j) for i, j in np.ndindex(*state.shape) if x2 is not None or j >= i]
    missing = [place for place in places if not state[place]]
    watch, done = watch or (lambda done, total: None), len(places) - len(missing)
    watch(done, len(places))
    for _ in _written(_Work(str(path), kernel, x1, x2, tile, budget), missing, client):
        done += 1
        watch(done, len(places))
    return _array(group, KERNEL)


@dataclass(frozen=True)
class _Work:
    """What is needed to compute any tile, by whoever does."""

    path: str
    kernel: TangentKernel
    x1: Tensor
    x2: Tensor | None
    tile: int
    budget: int | None

    def write(self, place: tuple[int, int]) -> None:
        """Compute a tile and write it, then mark it as finished."""
        import zarr

        rows, columns = (slice(index * self.tile, (index + 1) * self.tile) for index in place)
        others = self.x1 if self.x2 is None else self.x2
        same = self.x2 is None and rows == columns
        found = _whole(self.kernel(self.x1[rows], None if same else others[columns], budget=self.budget))
        group = zarr.open_group(self.path, mode="r+")
        target = _array(group, KERNEL)
        target[rows, columns] = found.cpu().numpy()
        if self.x2 is None and not same:
            mirrored = found.transpose(0, 1).transpose(2, 3) if found.ndim == 4 else found.T
            target[columns, rows] = mirrored.cpu().numpy()
        _array(group, FINISHED)[place] = 1


def _written(work: _Work, places: list[tuple[int, int]], client: Client | None) -> Iterator[None]:
    """Yield whenever a tile has been written, here or by a worker."""
    if client is None:
        yield from map(work.write, places)
        return
    from distributed import as_completed

    shared = cast("_Work", client.scatter(work, broadcast=True))
    tasks = [client.submit(_Work.write, shared, place, pure=False) for place in places]
    try:
        yield from (future.result() for future in as_completed(tasks))
    finally:
        client.cancel(tasks)


def _whole(kernel: Tensor | dict[str, Tensor]) -> Tensor:
    assert isinstance(kernel, Tensor)
    return kernel


def _array(group: zarr.Group, name: str) -> zarr.Array:
    import zarr

    found = group[name]
    assert isinstance(found, zarr.Array)
    return found


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
