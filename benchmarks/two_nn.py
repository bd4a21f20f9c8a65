"""Intrinsic dimension by TwoNN against scikit-dimension and DADApy.

python benchmarks/two_nn.py [--sizes 5000 20000] [--repeats 3]
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from timing import heading, largest_relative_difference, line, peer, timed

from learnscope.observables.intrinsic_dimension import intrinsic_dimension

FEATURES = 784


def manifold(n: int) -> torch.Tensor:
    """Points on a curved manifold of dimension 10 in 784 dimensions, float32."""
    random = torch.Generator().manual_seed(0)
    coordinates = torch.rand(n, 10, generator=random)
    curved = torch.tanh(coordinates @ torch.randn(10, 200, generator=random))
    return curved @ torch.randn(200, FEATURES, generator=random) / 14 + 3


def digits(n: int) -> torch.Tensor | None:
    """Return MNIST images, float32 in [0, 1], or None with a sentence where there are none."""
    file = Path(os.environ.get("LEARNSCOPE_DATA", "")) / "mnist.npz"
    if not file.is_file():
        print("MNIST is skipped: set LEARNSCOPE_DATA to a folder with mnist.npz.")
        return None
    with np.load(file) as data:
        return torch.from_numpy(data["x_train"][:n]).reshape(n, -1).float() / 255


def peers() -> dict[str, Callable[[torch.Tensor], float]]:
    found: dict[str, Callable[[torch.Tensor], float]] = {}
    if skdim := peer("skdim", "scikit-dimension"):
        found["scikit-dimension"] = lambda h: skdim.id.TwoNN().fit(h.numpy()).dimension_
    if dadapy := peer("dadapy", "DADApy"):
        found["DADApy"] = lambda h: dadapy.Data(h.numpy(), maxk=3, n_jobs=2).compute_id_2NN()[0]
    return found


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peak(n: int) -> str:
    """Return the memory that an estimate adds to a process that already holds the data, in a fresh process."""
    code = (
        "import torch, two_nn; torch.set_num_threads(2); two_nn.intrinsic_dimension(two_nn.manifold(200));"
        f"h = two_nn.manifold({n}); before = two_nn.megabytes(); two_nn.intrinsic_dimension(h);"
        "print(round(two_nn.megabytes() - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5000, 20000])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    heading()
    libraries = peers()
    for n in options.sizes:
        for name, h in (("dimension 10 in 784", manifold(n)), ("MNIST", digits(n))):
            if h is None:
                continue
            ours = timed(lambda h=h: float(intrinsic_dimension(h)), options.repeats)
            for library, estimate in libraries.items():
                theirs = timed(lambda h=h, estimate=estimate: estimate(h), options.repeats if n < 10000 else 1)
                line(
                    f"{name}, {n} points, {library}",
                    ours,
                    theirs,
                    largest_relative_difference(ours.result, theirs.result),
                )
        print(f"{n} points: {peak(n)} MB more than before at the peak (data {n * FEATURES * 4 / 2**20:.0f} MB)")


if __name__ == "__main__":
    main()
