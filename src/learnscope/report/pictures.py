"""Inputs that are images, as small PNGs inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import xarray as xr
from PIL import Image

SMALLEST_SIDE = 4
LARGEST_SIDE = 1024
MOST_PIXELS = 96  # sides of larger images are reduced to this


def are_images(inputs: xr.DataArray) -> bool:
    """Return whether inputs look like images: [n, H, W], or [n, C, H, W] with one or three channels."""
    if inputs.ndim not in (3, 4) or (inputs.ndim == 4 and inputs.shape[1] not in (1, 3)):
        return False
    sides = inputs.shape[-2:]
    return min(sides) >= SMALLEST_SIDE and max(sides) <= LARGEST_SIDE and max(sides) <= 4 * min(sides)


def images(inputs: xr.DataArray, examples: Sequence[int]) -> list[str | None]:
    """Return PNG data addresses of some examples; None for each where inputs are no images.

    Values are stretched, channel by channel, from the least and the greatest over the probe (at most 256 examples)
    to black and white, which undoes the usual normalisation.
    """
    if not are_images(inputs):
        return [None] * len(examples)
    picked = inputs.isel(example=list(examples)).values
    reference = inputs.isel(example=slice(0, 256)).values
    picked, reference = (_channels_last(part.astype(np.float64)) for part in (picked, reference))
    low, high = np.nanmin(reference, axis=(0, 1, 2)), np.nanmax(reference, axis=(0, 1, 2))
    scaled = (picked - low) / np.maximum(high - low, 1e-12)
    return [_png(image) for image in np.nan_to_num(scaled, posinf=1.0, neginf=0.0).clip(0, 1)]


def _channels_last(batch: np.ndarray) -> np.ndarray:
    return batch[..., None] if batch.ndim == 3 else np.moveaxis(batch, 1, -1)


def _png(image: np.ndarray) -> str:
    pixels = np.rint(image * 255).astype(np.uint8)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    picture.thumbnail((MOST_PIXELS, MOST_PIXELS))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
