"""Image sets are float32 in [0, 1], channels first, with integer labels that fit their classes."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from learnscope.distributions import images
from learnscope.distributions.sources import CIFAR10, FASHION_MNIST, MNIST
from learnscope.errors import InputError


def assert_well_formed(found, shape):
    for x, y in ((found.x_train, found.y_train), (found.x_test, found.y_test)):
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        assert x.shape == (len(y), *shape)
        assert x.is_contiguous()
        assert x.min() >= 0
        assert x.max() <= 1
        assert y.min() >= 0
        assert y.max() < len(found.classes)


@pytest.fixture
def data_folder(monkeypatch, tmp_path):
    """An empty folder that LEARNSCOPE_DATA names, and a function that writes a small set into it."""
    monkeypatch.setenv("LEARNSCOPE_DATA", str(tmp_path))

    def write(file, layout, n_train=6, n_test=3):
        draw = np.random.default_rng(0)
        stored: dict[str, Any] = {
            "x_train": draw.integers(0, 256, (n_train, *layout), dtype=np.uint8),
            "y_train": draw.integers(0, 10, n_train, dtype=np.uint8),
            "x_test": draw.integers(0, 256, (n_test, *layout), dtype=np.uint8),
            "y_test": draw.integers(0, 10, n_test, dtype=np.uint8),
        }
        np.savez(tmp_path / file, **stored)
        return stored

    return write


class TestDigits:
    def test_is_well_formed(self):
        found = images.digits()
        assert_well_formed(found, (1, 8, 8))
        assert (len(found.x_train), len(found.x_test), found.x_train.max()) == (1200, 597, 1)
        assert len(found.y_train.unique()) == len(found.y_test.unique()) == 10

    def test_every_digit_is_in_one_split_with_its_own_label(self):
        found = images.digits()
        x = torch.cat([found.x_train, found.x_test]).flatten(1) * 16
        rows = torch.cat([x, torch.cat([found.y_train, found.y_test])[:, None]], dim=1)
        pixels, labels = load_digits(return_X_y=True)
        expected = np.concatenate([pixels, labels[:, None]], axis=1)
        assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, expected.tolist()))

    def test_is_the_same_every_time_and_leaves_the_global_state_alone(self):
        torch.manual_seed(5)
        before = torch.get_rng_state()
        first, second = images.digits(), images.digits()
        assert torch.equal(first.x_train, second.x_train)
        assert torch.equal(torch.get_rng_state(), before)


class TestDataFolder:
    @pytest.mark.parametrize(
        ("name", "layout", "shape"),
        [
            ("mnist", (28, 28), (1, 28, 28)),
            ("fashion_mnist", (28, 28), (1, 28, 28)),
            ("cifar10", (32, 32, 3), (3, 32, 32)),
        ],
    )
    def test_is_read_instead_of_the_network(self, data_folder, name, layout, shape):
        stored = data_folder(f"{name}.npz", layout)
        found = images.load_images(name)
        assert_well_formed(found, shape)
        assert found.name == name
        assert torch.equal(found.y_train, torch.tensor(stored["y_train"].astype(int)))
        pixels = torch.tensor(stored["x_test"]).reshape(3, *layout[:2], -1).movedim(-1, 1)
        torch.testing.assert_close(found.x_test, pixels.float() / 255)

    def test_a_subset_says_so_in_its_name(self, data_folder):
        data_folder("cifar10_subset.npz", (32, 32, 3))
        assert images.cifar10().name == "cifar10 (subset of 6 training and 3 test images)"

    def test_the_whole_set_goes_before_a_subset(self, data_folder):
        data_folder("cifar10_subset.npz", (32, 32, 3))
        data_folder("cifar10.npz", (32, 32, 3), n_train=8)
        found = images.cifar10()
        assert (found.name, len(found.x_train)) == ("cifar10", 8)

    def test_a_bad_file_is_an_error_and_not_a_download(self, data_folder):
        data_folder("mnist.npz", (32, 32, 3))
        with pytest.raises(InputError, match=r"mnist\.npz' holds x_train as uint8 \[6, 32, 32, 3\]"):
            images.mnist()

    def test_must_be_a_folder(self, monkeypatch, tmp_path):
        monkeypatch.setenv("LEARNSCOPE_DATA", str(tmp_path / "nowhere"))
        with pytest.raises(InputError, match="nowhere', which is not a folder; name one that holds"):
            images.mnist()

    def test_without_the_file_the_cache_is_used(self, data_folder, monkeypatch, tmp_path):
        asked = []
        monkeypatch.setenv("LEARNSCOPE_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("learnscope.distributions.sources.download", lambda *given: asked.append(given))
        with pytest.raises(AttributeError):  # the stand-in brings nothing
            images.fashion_mnist()
        assert asked == [(FASHION_MNIST, tmp_path / "cache")]


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="called 'mnits'; the nearest names are 'mnist'"):
        images.load_images("mnits")


def test_is_shown_briefly():
    assert repr(images.digits()) == "Images('digits', train=[1200, 1, 8, 8], test=[597, 1, 8, 8], classes=10)"


@pytest.mark.parametrize("source", [MNIST, FASHION_MNIST, CIFAR10])
def test_every_source_has_a_loader_and_ten_classes(source):
    assert source.name in images.LOADERS
    assert len(set(source.classes)) == 10


def test_importing_loads_no_heavy_library():
    code = (
        "import sys, learnscope.distributions.images;"
        "print(*[name for name in ('sklearn', 'pooch', 'requests', 'rich', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
