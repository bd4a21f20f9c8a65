"""Pairs of examples that are left to look at, row by row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """For each of some rows, some examples in ascending order.

    Attributes:
        starts: [rows + 1] int64, where each row's examples start, and the number of all.
        examples: [pairs] int64.
    """

    starts: Tensor
    examples: Tensor

    @property
    def counts(self) -> Tensor:
        """[rows] how many examples each row has."""
        return self.starts.diff()

    def spread(self, values: Tensor) -> Tensor:
        """Return the value of the row for each pair: [rows, ...] → [pairs, ...].

        Examples:
            >>> Candidates(torch.tensor([0, 2, 3]), torch.tensor([5, 7, 1])).spread(torch.tensor([1.0, 2.0]))
            tensor([1., 1., 2.])
        """
        return values.repeat_interleave(self.counts, dim=0, output_size=len(self.examples))

    def only(self, kept: Tensor) -> Candidates:
        """Return the pairs marked in ``kept`` [pairs].

        Examples:
            >>> pairs = Candidates(torch.tensor([0, 2, 3]), torch.tensor([5, 7, 1]))
            >>> few = pairs.only(torch.tensor([False, True, True]))
            >>> few.starts, few.examples
            (tensor([0, 1, 2]), tensor([7, 1]))
        """
        places = _places(kept)
        return Candidates(torch.searchsorted(places, self.starts), self.examples[places])

    def rows(self, kept: Tensor) -> Candidates:
        """Return the pairs of the rows marked in ``kept`` [rows]."""
        few = self.only(self.spread(kept))
        return Candidates(torch.cat([few.starts[:1], few.starts[1:][kept]]), few.examples)

    def padded(self, values: Tensor, fill: float) -> Tensor:
        """Return values [pairs] as a matrix, filled up: [rows, most examples of a row].

        Examples:
            >>> pairs = Candidates(torch.tensor([0, 2, 3]), torch.tensor([5, 7, 1]))
            >>> pairs.padded(torch.tensor([0.5, 0.7, 0.1]), torch.inf)
            tensor([[0.5000, 0.7000],
                    [0.1000,    inf]])
        """
        counts = self.counts
        places = torch.arange(int(counts.max()), device=values.device) < counts[:, None]
        return values.new_full(places.shape, fill).masked_scatter_(places, values)


def at_most(tile: Tensor, limit: Tensor) -> Candidates:
    """Return the columns of what does not exceed the limit [rows] of its row.

    Examples:
        >>> found = at_most(torch.tensor([[1.0, 3.0], [2.0, 0.0]]), torch.tensor([1.0, 2.0]))
        >>> found.starts, found.examples
        (tensor([0, 1, 3]), tensor([0, 0, 1]))
    """
    places = _places(_not_above(tile, limit.to(tile.dtype)[:, None]).flatten())
    origins = torch.arange(len(tile) + 1, device=tile.device) * tile.shape[1]
    found = Candidates(torch.searchsorted(places, origins), places)
    return Candidates(found.starts, places - found.spread(origins[:-1]))


def all_of(examples: Tensor) -> Candidates:
    """Return as many examples of each row, [rows, k].

    Examples:
        >>> all_of(torch.tensor([[4, 2], [1, 3]])).examples
        tensor([2, 4, 1, 3])
    """
    rows, k = examples.shape
    starts = torch.arange(0, (rows + 1) * k, k, device=examples.device)
    return Candidates(starts, examples.sort(dim=1).values.flatten())


def _not_above(tile: Tensor, limit: Tensor) -> Tensor:
    """Return tile ≤ limit; NumPy's is several times faster than torch's, as is its search for what is set."""
    return tile <= limit if tile.device.type != "cpu" else torch.from_numpy(tile.numpy() <= limit.numpy())


def _places(marks: Tensor) -> Tensor:
    """Return where marks [pairs] are set."""
    return marks.nonzero()[:, 0] if marks.device.type != "cpu" else torch.from_numpy(np.flatnonzero(marks.numpy()))
