"""Inputs that are images become small PNGs that show the same values."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from learnscope.report.pictures import are_images, images


def inputs(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=["example", *(f"input_{k}" for k in range(1, values.ndim))])


def pixels(address: str | None) -> np.ndarray:
    assert address is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def test_a_grey_image_is_stretched_to_black_and_white():
    values = np.linspace(-2, 6, 2 * 36).reshape(2, 1, 6, 6)
    shown = pixels(images(inputs(values), [1])[0])
    np.testing.assert_array_equal(shown, np.rint((values[1, 0] + 2) / 8 * 255))


def test_colour_images_keep_their_channels_and_batches_without_channels_are_grey():
    colour = np.random.default_rng(0).random((3, 3, 8, 8))
    assert pixels(images(inputs(colour), [0])[0]).shape == (8, 8, 3)
    assert pixels(images(inputs(colour[:, 0]), [2])[0]).shape == (8, 8)


def test_large_images_are_reduced():
    assert max(pixels(images(inputs(np.random.default_rng(0).random((2, 224, 200))), [0])[0]).shape) == 96


@pytest.mark.parametrize("shape", [(5, 10), (5, 2, 8, 8), (5, 3, 4), (5, 100, 10), (5, 3, 2, 2), (5, 1, 3, 8, 8)])
def test_what_is_no_image_gives_no_picture(shape):
    assert not are_images(inputs(np.zeros(shape)))
    assert images(inputs(np.zeros(shape)), [0, 1]) == [None, None]


def test_constant_and_broken_images_do_not_fail():
    values = np.zeros((2, 1, 8, 8))
    values[1, 0, 0, 0] = np.nan
    assert pixels(images(inputs(values), [1])[0]).max() == 0
