"""What a layer T of a network tells of the input X and of the label Y, in bits: the information plane.

A layer is a function of the input, so for n equally likely inputs I(T;X) is the entropy of T: log₂ n where no two
inputs share an activation, whatever the network computes. Smaller numbers come from what is done to T before it is
measured, rounding it to bins or adding noise to it, and hang on the width of the bins or the noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from learnscope.errors import InputError
from learnscope.observables.features import as_classes, as_matrix
from learnscope.observables.information import entropy

MOST_BINS = 2.0**40  # across a unit's activations, so that groups of bins are counted in 64 bits
BUDGET = 64 * 2**20  # bytes of the kernel between inputs that are held at once


@dataclass(frozen=True, slots=True, eq=False)
class LayerInformation:
    """A layer's place in the information plane.

    Attributes:
        inputs: I(T;X) in bits, a scalar in float64.
        labels: I(T;Y) in bits.
    """

    inputs: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class NoisyLayerInformation:
    """A layer's place in the information plane when noise is added to it, between two estimates.

    Attributes:
        upper: with the distances of Kullback and Leibler; its ``inputs`` are an upper bound of I(T;X).
        lower: with those of Bhattacharyya; its ``inputs`` are a lower bound of I(T;X).
    """

    upper: LayerInformation
    lower: LayerInformation


def binned_information(h: Tensor, y: Tensor, width: float, *, low: float = 0.0) -> LayerInformation:
    """Return I(T;X) = H(T) and I(T;Y) = H(T) − Σ_c p_c H(T | Y = c) for T = ⌊(h − low) / width⌋, unit by unit.

    The n inputs are taken as all that there are, each with probability 1/n, so nothing is corrected for sampling. An
    unbounded layer, or ever narrower bins, gives log₂ of the number of distinct activations.

    Args:
        h: [n, units] activations, any real dtype.
        y: [n] integer classes.
        width: of a bin, the same for all units.
        low: an edge of the bins.

    Raises:
        InputError: for activations that are not a finite matrix, labels that do not fit, a width that is not positive,
            or one so small that there are more than 2⁴⁰ bins.

    Cost: O(n log n) time for each unit, two copies of the activations in 64 bits.

    Source: Shwartz-Ziv, Tishby 2017 (30 bins on [−1, 1]); Saxe et al. 2018.

    Examples:
        >>> h = torch.tensor([[0.1], [0.2], [1.1], [1.2]])
        >>> found = binned_information(h, torch.tensor([0, 0, 1, 1]), 1.0)
        >>> float(found.inputs), float(found.labels)
        (1.0, 1.0)
        >>> float(binned_information(h, torch.tensor([0, 0, 1, 1]), 0.01).inputs)
        2.0
    """
    h = as_matrix(h).double()
    classes, count = as_classes(y.to(h.device), len(h))
    if not width > 0:
        raise InputError(f"width is {width:g}, but a bin has a positive width.")
    places = ((h - low) / width).floor()
    if not bool((places.abs() < MOST_BINS / 2).all()):
        raise InputError(
            f"a width of {width:g} makes more than 2^40 bins of activations up to {float(h.abs().max()):g}: take wider "
            "bins."
        )
    bins = _groups(places.long())
    joint = torch.bincount(bins * count + classes, minlength=count * (int(bins.max()) + 1)).reshape(-1, count)
    share = classes.bincount(minlength=count) / len(h)
    inputs = entropy(joint.sum(1), jackknife=False)
    return LayerInformation(inputs, inputs - (share * entropy(joint.T, jackknife=False)).sum())


def noisy_information(h: Tensor, y: Tensor, noise_variance: float) -> NoisyLayerInformation:
    """Return bounds of I(T;X), and estimates of I(T;Y), for T = h + noise N(0, v) on every unit.

    T is a mixture of n Gaussians, one an input. With squared distances d_ij between activations,

        I(T;X) ≤ −1/n Σ_i log₂ 1/n Σ_j exp(−d_ij / 2v),

    and the same with 4v in place of v is a lower bound. I(T;Y) is that estimate less its mean over classes, each taken
    by itself; as a difference of bounds it is no bound, but it lies within [0, H(Y)] up to the gap between them.

    Args:
        h: [n, units] activations, any real dtype.
        y: [n] integer classes.
        noise_variance: v, in the units of the squared activations.

    Raises:
        InputError: for activations that are not a finite matrix, labels that do not fit, or a variance that is not
            positive.

    Cost: n² (units + classes) multiplications and n² exponentials in float64; 64 MiB and a float64 copy of the
        activations.

    Source: Kolchinsky, Tracey 2017, section 3; Saxe et al. 2018, who take v = 10⁻³.

    Examples:
        Two inputs far apart are told apart, log₂ 2 = 1 bit; two that coincide are not:

        >>> y = torch.tensor([0, 1])
        >>> float(noisy_information(torch.tensor([[0.0], [9.0]]), y, 1e-3).lower.inputs)
        1.0
        >>> float(noisy_information(torch.zeros(2, 1), y, 1e-3).upper.inputs)
        0.0
    """
    h = as_matrix(h).double()
    classes, count = as_classes(y.to(h.device), len(h))
    if not noise_variance > 0:
        raise InputError(f"noise_variance is {noise_variance:g}, but noise has a positive variance.")
    x = (h - h.mean(0)) / math.sqrt(8 * noise_variance)
    members = torch.nn.functional.one_hot(classes, count).to(x)
    wide, narrow = [], []
    step = max(1, BUDGET // (16 * len(x)))
    for start in range(0, len(x), step):
        kernel = _squared_distances(x[start : start + step], x).neg_().exp_()  # exp(−d / 8v)
        kernel.diagonal(start).fill_(1.0)  # which rounding misses where there is little noise
        wide.append(kernel @ members)
        narrow.append(kernel.square_().square_() @ members)
    upper, lower = (_from_densities(torch.cat(sums), classes) for sums in (narrow, wide))
    return NoisyLayerInformation(upper, lower)


def _groups(rows: Tensor) -> Tensor:
    """Return which distinct row of integers each row is, [n]."""
    groups = rows.new_zeros(len(rows))
    for column in rows.T:
        shifted = column - column.min()
        groups = (groups * (shifted.max() + 1) + shifted).unique(return_inverse=True)[1]
    return groups


def _squared_distances(rows: Tensor, columns: Tensor) -> Tensor:
    """Return |r_i − c_j|², [rows, columns], not below 0."""
    squares = torch.addmm(columns.square().sum(1)[None], rows, columns.T, alpha=-2)
    return squares.add_(rows.square().sum(1, keepdim=True)).clamp_(min=0)


def _from_densities(sums: Tensor, classes: Tensor) -> LayerInformation:
    """Return the two informations from Σ_{j in c} exp(−…), [n, classes]."""
    own = sums.gather(1, classes[:, None])[:, 0]
    inputs = -(sums.sum(1) / len(sums)).log2().mean()
    within = -(own / classes.bincount()[classes]).log2().mean()
    return LayerInformation(inputs, inputs - within)
