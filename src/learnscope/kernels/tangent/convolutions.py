"""What the filters of a convolution see, and what that gives together with the gradients of what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.backends import mkldnn
from torch.nn.functional import pad
from torch.nn.grad import conv1d_weight, conv2d_weight, conv3d_weight

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
WEIGHT_GRADIENTS: tuple[Callable[..., Tensor], ...] = (conv1d_weight, conv2d_weight, conv3d_weight)
# Numbers of a result that a library gives at a time: in memory that was used before, where new takes longer to get
# than to compute.
PIECE = 2**18
# Channels from which on it is worth while.
CHANNELS = 8


class Window(NamedTuple):
    """What a convolution sees at each position, taken from its inputs only when it is needed: it is many times larger.

    Attributes:
        module: the convolution.
        weight: whether the weights are in the kernel.
        bias: whether the bias is, for which a one is seen at each position.
    """

    module: Convolution
    weight: bool
    bias: bool

    @property
    def taps(self) -> int:
        """Positions of the filter."""
        return math.prod(self.module.kernel_size) if self.weight else 0

    @property
    def channels(self) -> int:
        """Input channels of a group that it looks at."""
        return self.module.in_channels // self.module.groups if self.weight else 0

    def seen(self, x: Tensor, positions: int, groups: slice, units: slice) -> Tensor:
        """Return what some groups see of some channels, and last of the one for the bias: [n, groups, positions, a]."""
        begin, stop, _ = units.indices(self.channels + self.bias)
        x = x.unflatten(1, (self.module.groups, -1))[:, groups]
        channels = x[:, :, begin : min(stop, self.channels)]
        a = channels.shape[2] * self.taps
        found = x.new_empty(*x.shape[:2], a + (stop > self.channels), positions)
        found[:, :, a:] = 1
        if a:
            patches = windows(self.module, channels)
            found[:, :, :a].view(patches.shape).copy_(patches)
        return found.transpose(2, 3)

    def is_quick(self, x: Tensor) -> bool:
        """Return whether :meth:`products` is quicker than to multiply what is seen: where oneDNN fills its vectors."""
        onednn = x.device.type == "cpu" and x.dtype == torch.float32 and mkldnn.is_available()
        return onednn and self.taps > 1 and self.channels >= CHANNELS

    def products(self, x: Tensor, gradients: Tensor, groups: slice, units: slice) -> Tensor:
        """Return Σ_t G_t ⊗ X_t of some groups on some channels and the bias, [n, groups, k b, a].

        As the gradient of the weights of a convolution with a group for each example: without copies of what filters
        see, in half of the time or less, on a CPU in float32.

        Args:
            x: [n, channels, ...] inputs.
            gradients: [n, k, groups, positions, b] of its outputs, of all groups.
            groups: which of them.
            units: which channels, and last the bias.
        """
        begin, stop, _ = units.indices(self.channels + self.bias)
        x = _padded(self.module, x).unflatten(1, (self.module.groups, -1))[:, groups, begin : min(stop, self.channels)]
        n, g, c = x.shape[:3]
        outer = gradients[:, :, groups].permute(0, 2, 1, 4, 3).flatten(2, 3)  # [n, groups, k b, positions]
        found = x.new_empty(n, g, outer.shape[2], c * self.taps + (stop > self.channels))
        found[..., c * self.taps :] = outer.sum(-1, keepdim=True)
        if c and self.taps:
            size, positions = (g * outer.shape[2], c, *self.module.kernel_size), self._positions(x)
            some = max(1, PIECE // math.prod(size))
            for part, inputs, out in zip(found.split(some), x.split(some), outer.split(some), strict=True):
                weights = WEIGHT_GRADIENTS[len(positions) - 1](
                    inputs.reshape(1, -1, *x.shape[3:]),
                    (len(inputs) * size[0], *size[1:]),
                    out.reshape(1, -1, *positions),
                    stride=self.module.stride,
                    dilation=self.module.dilation,
                    groups=len(inputs) * g,
                )
                part[..., : c * self.taps].copy_(weights.view(*part.shape[:-1], -1))
        return found

    def _positions(self, padded: Tensor) -> tuple[int, ...]:
        """Return the sizes of what comes out for padded inputs [..., *spatial]."""
        module = self.module
        spatial = padded.shape[-len(module.kernel_size) :]
        each = zip(spatial, module.kernel_size, module.stride, module.dilation, strict=True)
        return tuple((size - spread * (taps - 1) - 1) // step + 1 for size, taps, step, spread in each)


def windows(module: Convolution, x: Tensor) -> Tensor:
    """Return a view of what each tap of the filter sees, [..., channels, *spatial] to [..., *taps, *positions]."""
    x, dims = _padded(module, x), len(module.kernel_size)
    lead = x.ndim - dims
    for dim, (size, step, spread) in enumerate(
        zip(module.kernel_size, module.stride, module.dilation, strict=True), start=lead
    ):
        x = x.unfold(dim, spread * (size - 1) + 1, step)[..., ::spread]
    return x.permute(*range(lead), *range(lead + dims, lead + 2 * dims), *range(lead, lead + dims))


def _padded(module: Convolution, x: Tensor) -> Tensor:
    """Return inputs [..., channels, *spatial] with the margins that the convolution gives them."""
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    margins, dims = list(module._reversed_padding_repeated_twice), len(module.kernel_size)
    if not any(margins):
        return x
    return pad(x.flatten(0, -dims - 2), margins, mode=mode).unflatten(0, x.shape[: -dims - 1])
