"""Where image sets come from: a folder of the user's, or their official mirrors with known checksums."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from learnscope.distributions.download import cache_folder, fetch
from learnscope.distributions.formats import (
    CIFAR_SHAPE,
    Arrays,
    read_cifar10_archive,
    read_idx_files,
    read_npz,
)
from learnscope.errors import InputError


@dataclass(frozen=True, slots=True)
class Source:
    """An image set and the ways to it.

    Attributes:
        name: what users call it.
        classes: names of the labels 0, 1, 2, …
        shape: channels, height, width.
        mirrors: base addresses, ending in a slash, in the order in which they are tried.
        files: md5 checksum of each file under a mirror, in the order that ``read`` wants them.
        read: turns the downloaded files into arrays.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mirrors: tuple[str, ...]
    files: Mapping[str, str]
    read: Callable[[Sequence[Path]], Arrays]


MNIST = Source(
    name="mnist",
    classes=tuple("0123456789"),
    shape=(1, 28, 28),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    files={
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    read=read_idx_files,
)

FASHION_MNIST = Source(
    name="fashion_mnist",
    classes=("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    shape=(1, 28, 28),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    files={
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    read=read_idx_files,
)

CIFAR10 = Source(
    name="cifar10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    shape=CIFAR_SHAPE,
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    files={"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    read=read_cifar10_archive,
)


def find(source: Source) -> tuple[str, Arrays]:
    """Return the set's name and arrays from ``LEARNSCOPE_DATA`` if it is there, else from its mirrors.

    The name says so when the folder holds only a subset (``cifar10_subset.npz``, say).

    Raises:
        InputError: ``LEARNSCOPE_DATA`` is not a folder, or its file is not what it should be.
        DownloadError: the set is not in the folder and could not be fetched.
    """
    whole, subset = f"{source.name}.npz", f"{source.name}_subset.npz"
    folder = _data_folder()
    for file in (whole, subset):
        if folder is not None and (folder / file).is_file():
            arrays = read_npz(folder / file, source.shape, len(source.classes))
            sizes = f"{len(arrays.x_train):,} training and {len(arrays.x_test):,} test images"
            return (source.name if file == whole else f"{source.name} (subset of {sizes})"), arrays
    return source.name, download(source, cache_folder())


def download(source: Source, cache: Path) -> Arrays:
    """Return the set's arrays from the cache, after fetching what it lacks.

    Raises:
        DownloadError: no mirror delivered a file, or the cache cannot be written.
    """
    instead = f"set LEARNSCOPE_DATA to a folder that holds {source.name}.npz"
    folder = cache / source.name
    return source.read([fetch(file, md5, source.mirrors, folder, instead) for file, md5 in source.files.items()])


def _data_folder() -> Path | None:
    """Return the folder that the user named in the environment, if any."""
    named = os.environ.get("LEARNSCOPE_DATA")
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"LEARNSCOPE_DATA is '{named}', which is not a folder; name one that holds mnist.npz and the like, "
            f"or unset it so that data are downloaded."
        )
    return folder
