"""The file formats in which image sets are handed around: Keras-style .npz, idx, and CIFAR-10's records.

Every reader returns the same thing, :class:`Arrays`, and none of them unpickles anything.
"""

from __future__ import annotations

import gzip
import math
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learnscope.errors import DownloadError, InputError

CIFAR_SHAPE = (3, 32, 32)
CIFAR_TRAIN = tuple(f"cifar-10-batches-bin/data_batch_{batch}.bin" for batch in range(1, 6))
CIFAR_TEST = ("cifar-10-batches-bin/test_batch.bin",)

_UNREADABLE = (OSError, EOFError, ValueError, zipfile.BadZipFile, tarfile.TarError, zlib.error)


class Arrays(NamedTuple):
    """An image set as stored: images uint8 [n, channels, height, width], labels integers [n]."""

    x_train: NDArray[np.uint8]
    y_train: NDArray[np.integer]
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.integer]


def parse_idx(data: bytes, origin: str) -> NDArray[np.uint8]:
    """Read unsigned bytes in idx form: two zero bytes, type 8, rank, sizes as big-endian uint32, values.

    Args:
        data: the whole file, uncompressed.
        origin: where it came from, for the error message.

    Returns:
        The values, uint8, in the shape that the header tells; a read-only view of ``data``.

    Raises:
        DownloadError: the header is another one, or the length is not what it tells.

    Examples:
        >>> parse_idx(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9]), "example").tolist()
        [[7, 8, 9]]
    """
    rank = data[3] if len(data) > 3 else 0
    start = 4 + 4 * rank
    if data[:3] != b"\0\0\x08" or rank == 0 or len(data) < start:
        raise DownloadError(f"{origin} is not an idx file of unsigned bytes; delete it and load the set again.")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", count=rank, offset=4))
    expected = math.prod(shape)
    if len(data) - start != expected:
        raise DownloadError(
            f"{origin} holds {len(data) - start} values, but its header tells {expected} in the shape "
            f"{list(shape)}; delete it and load the set again."
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def read_idx_files(paths: Sequence[Path]) -> Arrays:
    """Read gzipped idx files in the order train images, train labels, test images, test labels.

    Raises:
        DownloadError: a file is not gzipped idx, or images and labels differ in number.
    """
    arrays = []
    for path in paths:
        try:
            data = gzip.decompress(path.read_bytes())
        except _UNREADABLE as error:
            raise DownloadError(f"'{path}' is not a whole gzip file; delete it and load the set again.") from error
        arrays.append(parse_idx(data, f"'{path}'"))
    x_train, y_train, x_test, y_test = arrays
    for x, y, path in ((x_train, y_train, paths[0]), (x_test, y_test, paths[2])):
        if x.ndim != 3 or y.shape != x.shape[:1]:
            raise DownloadError(
                f"'{path}' holds images of shape {list(x.shape)} for labels of shape {list(y.shape)}, but "
                f"[n, height, width] and [n] were expected; delete both and load the set again."
            )
    return Arrays(x_train[:, None], y_train, x_test[:, None], y_test)


def read_cifar10_archive(paths: Sequence[Path]) -> Arrays:
    """Read the binary version of CIFAR-10: records of one label byte and 3 × 32 × 32 pixel bytes.

    The members of the archive are read in memory; nothing is written to disk.

    Args:
        paths: the single path of the ``.tar.gz`` file.

    Raises:
        DownloadError: the archive is damaged, lacks a batch, or a batch is not made of whole records.
    """
    (path,) = paths
    batches = _read_members(path, {*CIFAR_TRAIN, *CIFAR_TEST})
    x_train, y_train = _parse_records(b"".join(batches[name] for name in CIFAR_TRAIN), path)
    x_test, y_test = _parse_records(b"".join(batches[name] for name in CIFAR_TEST), path)
    return Arrays(x_train, y_train, x_test, y_test)


def _read_members(path: Path, wanted: set[str]) -> dict[str, bytes]:
    """Return the contents of the wanted regular files of a gzipped tar, in one pass over it."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() and member.name in wanted else None
                if content is not None:
                    found[member.name] = content.read()
    except _UNREADABLE as error:
        raise DownloadError(f"'{path}' is not a whole tar.gz file; delete it and load the set again.") from error
    if missing := sorted(wanted - found.keys()):
        raise DownloadError(f"'{path}' lacks {', '.join(missing)}; delete it and load the set again.")
    return found


def _parse_records(data: bytes, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Split CIFAR-10 records into images [n, 3, 32, 32] and labels [n]."""
    length = 1 + math.prod(CIFAR_SHAPE)
    if not data or len(data) % length:
        raise DownloadError(
            f"'{path}' holds a batch of {len(data)} bytes, which is not a multiple of the {length} bytes of a "
            f"record; delete it and load the set again."
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, length)
    return records[:, 1:].reshape(-1, *CIFAR_SHAPE), records[:, 0]


def read_npz(path: Path, shape: tuple[int, int, int], n_classes: int) -> Arrays:
    """Read a Keras-style ``.npz`` file, without unpickling, and check everything in it.

    Args:
        path: a file with ``x_train`` and ``x_test``, uint8 [n, height, width] for one channel and
            [n, height, width, channels] for several, and ``y_train`` and ``y_test``, integers [n] or [n, 1].
        shape: channels, height and width that are expected.
        n_classes: labels must lie in 0 … n_classes - 1.

    Raises:
        InputError: the file is damaged, lacks an array, or an array has another type, shape or range.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(f"'{path}' is not an .npz file; {_REPLACE}.")
    try:
        with np.load(path, allow_pickle=False) as stored:
            if missing := [key for key in Arrays._fields if key not in stored.files]:
                raise InputError(f"'{path}' lacks {', '.join(missing)}; {_REPLACE}.")
            arrays = {key: np.asarray(stored[key]) for key in Arrays._fields}
    except InputError:
        raise
    except _UNREADABLE as error:
        raise InputError(f"'{path}' is damaged or holds pickled objects; {_REPLACE}.") from error
    x_train, y_train = _checked_split(path, "train", arrays, shape, n_classes)
    x_test, y_test = _checked_split(path, "test", arrays, shape, n_classes)
    return Arrays(x_train, y_train, x_test, y_test)


_REPLACE = "replace the file, or move it out of LEARNSCOPE_DATA so that the set is downloaded"


def _checked_split(
    path: Path, split: str, arrays: dict[str, np.ndarray], shape: tuple[int, int, int], n_classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
    """Return images [n, channels, height, width] and labels [n] of one split, or say what is wrong."""
    x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
    channels, height, width = shape
    layout = (height, width) if channels == 1 else (height, width, channels)
    if x.dtype != np.uint8 or x.shape[1:] != layout or len(x) == 0:
        raise InputError(
            f"'{path}' holds x_{split} as {x.dtype} {list(x.shape)}, but uint8 "
            f"[n, {', '.join(map(str, layout))}] with n ≥ 1 was expected; {_REPLACE}."
        )
    if not np.issubdtype(y.dtype, np.integer) or y.shape not in {(len(x),), (len(x), 1)}:
        raise InputError(
            f"'{path}' holds y_{split} as {y.dtype} {list(y.shape)}, but integers [{len(x)}] were expected; {_REPLACE}."
        )
    if y.min() < 0 or y.max() >= n_classes:
        raise InputError(
            f"'{path}' holds labels from {y.min()} to {y.max()} in y_{split}, but 0 to {n_classes - 1} were "
            f"expected; {_REPLACE}."
        )
    images = x[:, None] if channels == 1 else x.transpose(0, 3, 1, 2)
    return images, y.reshape(-1)
