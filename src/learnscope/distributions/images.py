"""Image sets for classification, as tensors: scikit-learn's digits, MNIST, Fashion-MNIST, CIFAR-10."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from learnscope.distributions.sources import CIFAR10, FASHION_MNIST, MNIST, Source, find
from learnscope.errors import InputError, nearest_names
from learnscope.randomness import generator

DIGITS_TRAIN = 1200  # of 1,797


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Labelled images, split for training and testing.

    Attributes:
        name: what the set is called, and whether it is a subset.
        x_train: float32 in [0, 1], [n, channels, height, width].
        y_train: int64 in 0 … len(classes) - 1, [n].
        x_test: like ``x_train``.
        y_test: like ``y_train``.
        classes: names of the labels.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: tuple[str, ...]

    def __repr__(self) -> str:
        train, test = list(self.x_train.shape), list(self.x_test.shape)
        return f"Images({self.name!r}, train={train}, test={test}, classes={len(self.classes)})"


def digits() -> Images:
    """Return the 1,797 handwritten digits of 8 × 8 pixels that come with scikit-learn; needs no network.

    They are split into 1,200 for training and 597 for testing by a fixed random permutation; pixels are
    counts from 0 to 16, divided by 16.

    Source: E. Alpaydin, C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI repository.

    Examples:
        >>> digits()
        Images('digits', train=[1200, 1, 8, 8], test=[597, 1, 8, 8], classes=10)
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    y = torch.tensor(labels, dtype=torch.int64)
    order = torch.randperm(len(x), generator=generator("digits", "split"))
    train, test = order[:DIGITS_TRAIN], order[DIGITS_TRAIN:]
    return Images("digits", x[train], y[train], x[test], y[test], tuple("0123456789"))


def mnist() -> Images:
    """Return MNIST: 60,000 + 10,000 handwritten digits, 1 × 28 × 28, in the original order.

    They are read from ``mnist.npz`` in the folder ``LEARNSCOPE_DATA`` if it is there, else downloaded once
    (12 MB). The tensors take 220 MB.

    Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner (1998), Gradient-based learning applied to document
    recognition.

    Raises:
        InputError: the file in ``LEARNSCOPE_DATA`` is not what it should be.
        DownloadError: there is no such file and the download failed.
    """
    return _from_source(MNIST)


def fashion_mnist() -> Images:
    """Return Fashion-MNIST: 60,000 + 10,000 pieces of clothing, 1 × 28 × 28, in the original order.

    They are read from ``fashion_mnist.npz`` in the folder ``LEARNSCOPE_DATA`` if it is there, else
    downloaded once (31 MB). The tensors take 220 MB.

    Source: H. Xiao, K. Rasul, R. Vollgraf (2017), Fashion-MNIST: a novel image dataset for benchmarking
    machine learning algorithms, arXiv 1708.07747.

    Raises:
        InputError: the file in ``LEARNSCOPE_DATA`` is not what it should be.
        DownloadError: there is no such file and the download failed.
    """
    return _from_source(FASHION_MNIST)


def cifar10() -> Images:
    """Return CIFAR-10: 50,000 + 10,000 colour photographs, 3 × 32 × 32, in the original order.

    They are read from ``cifar10.npz``, or else ``cifar10_subset.npz`` (and the name then says that it is a
    subset), in the folder ``LEARNSCOPE_DATA`` if one is there, else downloaded once (170 MB). The tensors of
    the whole set take 740 MB.

    Source: A. Krizhevsky (2009), Learning multiple layers of features from tiny images.

    Raises:
        InputError: the file in ``LEARNSCOPE_DATA`` is not what it should be.
        DownloadError: there is no such file and the download failed.
    """
    return _from_source(CIFAR10)


LOADERS: dict[str, Callable[[], Images]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
}


def load_images(name: str) -> Images:
    """Return the image set of the given name: ``digits``, ``mnist``, ``fashion_mnist`` or ``cifar10``.

    Raises:
        InputError: no set has this name, or the file in ``LEARNSCOPE_DATA`` is not what it should be.
        DownloadError: the set had to be downloaded and could not be.

    Examples:
        >>> load_images("digits").y_test.bincount().sum()
        tensor(597)
    """
    if name not in LOADERS:
        raise InputError(
            f"There is no image set called {name!r}; the nearest names are {nearest_names(name, LOADERS)}."
        )
    return LOADERS[name]()


def _from_source(source: Source) -> Images:
    """Find a set and turn its bytes into tensors."""
    name, arrays = find(source)
    return Images(
        name,
        _pixels(arrays.x_train),
        _labels(arrays.y_train),
        _pixels(arrays.x_test),
        _labels(arrays.y_test),
        source.classes,
    )


def _pixels(stored: np.ndarray) -> Tensor:
    """Turn bytes into contiguous float32 in [0, 1]."""
    return torch.tensor(np.ascontiguousarray(stored)).to(torch.float32).div_(255)


def _labels(stored: np.ndarray) -> Tensor:
    """Turn stored labels, whatever their integer type, into int64."""
    return torch.tensor(stored.astype(np.int64))
