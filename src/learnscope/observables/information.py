"""Information between hard predictions and labels, in bits, with bias correction and bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from learnscope.errors import InputError
from learnscope.estimate import Estimate

SOURCE = "Nakkiran et al. 2019 (arXiv:1905.11604)"
ESTIMATOR = "jackknifed plug-in entropies (Efron, Stein 1981) of the table of hard predictions, bootstrap over examples"
RESAMPLES = 200
LEAST_COVERAGE = 0.9


def entropy(counts: Tensor, *, jackknife: bool = True) -> Tensor:
    """Return the entropy in bits of the distribution that a table of counts was drawn from.

    The plug-in estimate -Σ (c/n) log₂(c/n) is too small by about (cells - 1) / (2 n ln 2). The jackknife
    Ĥ_J = n Ĥ - (n - 1) Σ_i Ĥ₍₋ᵢ₎ / n removes that term; leaving out one example lowers one cell by one, so it has a
    closed form with one term for each cell.

    Args:
        counts: [..., cells] non-negative whole numbers; each table may have its own total n.
        jackknife: correct the bias; False gives the plug-in estimate.

    Returns:
        [...] float64, in bits. NaN for an empty table.

    Cost: O(cells) for each table; as many logarithms, or as the largest count if that is less.
    Source: Zahl 1977 for the jackknifed entropy.

    Examples:
        >>> float(entropy(torch.tensor([8, 8]), jackknife=False))
        1.0
    """
    counts = counts.double()
    n = counts.sum(-1)
    total, losses = (terms.sum(-1) for terms in _terms(counts))
    plug_in = n.log() - total / n
    if not jackknife:
        return plug_in / math.log(2)
    left = n - 1
    mean_without_one = left.log() - (total - losses / n) / left
    corrected = n * plug_in - left * mean_without_one
    return torch.where(n > 1, corrected, plug_in) / math.log(2)


def _terms(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return c log c of each count, and c times what that loses with one example; looked up where that is quicker."""
    most = int(counts.amax()) if counts.numel() else 0
    if most < counts.numel():
        once = _terms_of_each(torch.arange(most + 1, dtype=torch.float64, device=counts.device))
        places = counts.long()
        return once[0][places], once[1][places]
    return _terms_of_each(counts)


def _terms_of_each(counts: Tensor) -> tuple[Tensor, Tensor]:
    terms = -torch.special.entr(counts)
    return terms, counts * (terms + torch.special.entr((counts - 1).clamp(min=0)))


@dataclass(frozen=True, slots=True)
class JointTable:
    """Counts of the distinct triples (f, l, y) among n examples.

    Attributes:
        cells: [cells, 3] the distinct triples that occur.
        counts: [..., cells] how often each occurs; leading dimensions are bootstrap resamples.
    """

    cells: Tensor
    counts: Tensor

    def entropy(self, columns: Sequence[int]) -> Tensor:
        """Return the entropy in bits of the chosen columns, [...]."""
        _, group = torch.unique(_codes(self.cells[:, list(columns)]), return_inverse=True)
        marginal = torch.zeros(*self.counts.shape[:-1], int(group.max()) + 1, dtype=torch.float64)
        return entropy(marginal.index_add_(-1, group, self.counts.double()))

    def with_resamples(self, resamples: int, generator: torch.Generator) -> JointTable:
        """Return this table followed by ``resamples`` tables of as many examples, drawn with replacement."""
        seed = int(torch.randint(2**62, (), generator=generator))
        n = int(self.counts.sum())
        share = (self.counts.double() / n).numpy()
        draws = np.random.default_rng(seed).multinomial(n, share / share.sum(), size=resamples)
        return JointTable(self.cells, torch.cat([self.counts[None], torch.from_numpy(draws)]))


def joint_table(network: Tensor, simple: Tensor, y: Tensor) -> JointTable:
    """Count the triples (network's class, simple model's class, label).

    Raises:
        InputError: if the three do not have the same length, or are empty.
    """
    lengths = {len(network), len(simple), len(y)}
    if len(lengths) != 1 or 0 in lengths:
        raise InputError(
            f"predictions and labels have lengths {len(network)}, {len(simple)} and {len(y)}: "
            "they must be equal and not zero; predict the same examples with both models."
        )
    triples = torch.stack([network.cpu(), simple.cpu(), y.cpu()], dim=1).long()
    _, cell, counts = torch.unique(_codes(triples), return_inverse=True, return_counts=True)
    cells = torch.empty(len(counts), 3, dtype=torch.int64)
    cells[cell] = triples
    return JointTable(cells, counts)


def _codes(rows: Tensor) -> Tensor:
    """Return one integer for each row of integers, the same for the same row: numbers in a mixed base."""
    rows = rows - rows.amin(0)
    base = torch.cat([rows.new_ones(1), (rows.amax(0) + 1).cumprod(0)[:-1]])
    return (rows * base).sum(-1)


@dataclass(frozen=True, slots=True)
class Simplicity:
    """How much of what a network knows about the label a simpler model already knows, in bits.

    Attributes:
        network: I(F;Y).
        simple: I(L;Y).
        conditional: I(F;Y|L), what the network knows beyond the simpler model.
        explained: μ_Y(F;L) = I(F;Y) - I(F;Y|L).
        coverage: Good-Turing estimate of the share of the joint distribution that the table has seen.
    """

    network: Estimate
    simple: Estimate
    conditional: Estimate
    explained: Estimate
    coverage: float


def explained_information(
    network: Tensor,
    simple: Tensor,
    y: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> Simplicity:
    """Estimate μ_Y(F;L) = I(F;Y) - I(F;Y|L) and its parts from hard predictions.

    With H the entropy: I(F;Y) = H(F) + H(Y) - H(F,Y) and I(F;Y|L) = H(F,L) + H(L,Y) - H(F,L,Y) - H(L), each
    entropy jackknifed. Standard errors and 95 % intervals come from 200 bootstrap resamples of the examples; the
    interval is that of the resamples moved to be centred on the estimate, because resampling adds a bias of its own.

    Args:
        network: [n] integer classes F(xᵢ); -1 may stand for "no answer".
        simple: [n] integer classes L(xᵢ).
        y: [n] integer labels.
        generator: source of the resamples; a fixed one by default.

    Returns:
        Estimates in bits. ``converged`` is False where fewer than 90 % of the joint distribution was seen (Good
        1953), so that the remaining bias may exceed the interval: use more examples.

    Raises:
        InputError: if lengths differ or are zero.

    Cost: O(n log n + 200 cells).
    Source: Nakkiran et al. 2019, definition of the performance correlation.

    Examples:
        >>> y = torch.arange(400) % 2
        >>> result = explained_information(y, y, y)
        >>> round(float(result.explained), 2), round(abs(float(result.conditional)), 2)
        (1.0, 0.0)
    """
    generator = generator or torch.Generator().manual_seed(0)
    table = joint_table(network, simple, y)
    values = _informations(table.with_resamples(RESAMPLES, generator))
    n = int(table.counts.sum())
    coverage = 1 - int((table.counts == 1).sum()) / n
    estimates = [_estimate(v[0], v[1:], n, coverage) for v in values]
    return Simplicity(*estimates, coverage=coverage)


def _informations(table: JointTable) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    f, l, y = (0,), (1,), (2,)  # noqa: E741
    h = cache(table.entropy)
    network = h(f) + h(y) - h(f + y)
    simple = h(l) + h(y) - h(l + y)
    conditional = h(f + l) + h(l + y) - h(f + l + y) - h(l)
    return network, simple, conditional, network - conditional


def _estimate(value: Tensor, resampled: Tensor, n: int, coverage: float) -> Estimate:
    deviations = resampled - resampled.mean()
    low, high = torch.quantile(deviations, torch.tensor([0.025, 0.975], dtype=torch.float64))
    seen = coverage >= LEAST_COVERAGE
    notes = () if seen else (f"only {coverage:.0%} of the joint distribution was seen: use more examples",)
    return Estimate(
        value=value,
        standard_error=resampled.std(),
        n=torch.tensor(n),
        converged=torch.tensor(seen),
        estimator=ESTIMATOR,
        notes=notes,
        bounds=(value + low, value + high),
    )
