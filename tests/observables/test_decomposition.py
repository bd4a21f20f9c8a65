"""Leading eigenvectors: equal to NumPy's, whichever way is taken for the size."""

import numpy as np
import pytest
import torch

from learnscope.observables.decomposition import WIDE, leading_eigenvectors


@pytest.mark.parametrize("d", [1, 2, 40, WIDE - 1, WIDE, WIDE + 30])
def test_eigenvectors_are_as_many_as_wanted_and_those_of_the_largest_eigenvalues(d):
    x = torch.randn(2 * d, d, generator=torch.Generator().manual_seed(d), dtype=torch.float64)
    matrix, wanted = x.mT @ x, -(-d // 3)
    seen = []
    values, vectors = leading_eigenvectors(matrix.triu(), lambda found: seen.append(found) or wanted)
    expected = np.linalg.eigvalsh(matrix.numpy())[::-1].copy()
    torch.testing.assert_close(values, torch.from_numpy(expected), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(seen[0], values)
    assert vectors.shape == (d, wanted)
    torch.testing.assert_close(matrix @ vectors, vectors * values[:wanted], rtol=1e-9, atol=1e-9 * float(values[0]))
    torch.testing.assert_close(vectors.mT @ vectors, torch.eye(wanted).double(), rtol=0, atol=1e-12)
