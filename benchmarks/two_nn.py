"""Intrinsic dimension by TwoNN against scikit-dimension and DADApy.

python benchmarks/two_nn.py [--sizes 5000 20000] [--repeats 3]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from learnscope.observables.intrinsic_dimension import intrinsic_dimension
from timing import THREADS, heading, largest_relative_difference, line, peer, race, timed

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
        found["DADApy"] = lambda h: dadapy.Data(h.numpy(), maxk=3, n_jobs=THREADS).compute_id_2NN()[0]
    return found


def resident(field: str) -> float:
    """Return VmRSS or VmHWM, the memory that the process holds or has held at most, in MB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(entry.split()[1]) / 1024 for entry in status if entry.startswith(field))


def added_memory(n: int) -> float:
    """Return by how many MB an estimate raises the peak of this process, which holds the data already."""
    intrinsic_dimension(manifold(200))
    h = manifold(n)
    # Forget the peak of what came before.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    intrinsic_dimension(h)
    return resident("VmHWM") - before


def peak(n: int) -> str:
    """Return :func:`added_memory` of a fresh process."""
    code = f"import torch, two_nn; torch.set_num_threads(2); print(round(two_nn.added_memory({n})))"
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
            for library, estimate in libraries.items():
                ours, theirs = race(
                    lambda h=h: float(intrinsic_dimension(h)),
                    lambda h=h, estimate=estimate: estimate(h),
                    options.repeats,
                )
                difference = largest_relative_difference(ours.result, theirs.result)
                line(f"{name}, {n} points, {library}", ours, theirs, difference)
            if not libraries:
                print(f"{name}, {n} points: ours {timed(lambda h=h: intrinsic_dimension(h)).wall:.3f}")
        print(f"{n} points: {peak(n)} MB of extra memory at the peak, beyond {n * FEATURES * 4 / 2**20:.0f} MB of data")


if __name__ == "__main__":
    main()
