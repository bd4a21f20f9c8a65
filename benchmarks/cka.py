"""Debiased linear CKA of all pairs of layers against pytorch-cka, from features.

python benchmarks/cka.py [--examples 10000] [--layers 10] [--units 512]
"""

from __future__ import annotations

import argparse

import torch

from learnscope.observables.similarity import cka_matrix
from timing import heading, largest_relative_difference, line, peer, race, timed


def layers(examples: int, count: int, units: int) -> list[torch.Tensor]:
    """Activations of a random ReLU network, so that neighbouring layers are alike."""
    random = torch.Generator().manual_seed(0)
    h, found = torch.randn(examples, units, generator=random), []
    for _ in range(count):
        h = torch.relu(h @ torch.randn(units, units, generator=random) * (2 / units) ** 0.5)
        found.append(h)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=10000)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    heading()
    theirs = peer("cka", "pytorch-cka")
    features = layers(options.examples, options.layers, options.units)
    what = f"{options.layers} layers of {options.units}, {options.examples} examples"
    if theirs is None:
        print(f"{what}: ours {timed(lambda: cka_matrix(features), options.repeats).wall:.3f}")
        return
    both = race(lambda: cka_matrix(features), lambda: theirs.cka_from_features(features, features), options.repeats)
    line(f"{what}, pytorch-cka", *both, largest_relative_difference(both[0].result, both[1].result))
    few = [h[:2000] for h in features]
    exact = theirs.cka_from_features([h.double() for h in few], [h.double() for h in few])
    for name, result in (("ours", cka_matrix(few)), ("theirs", theirs.cka_from_features(few, few))):
        difference = largest_relative_difference(result, exact)
        print(f"2000 examples in float32, {name} against theirs in float64: {difference:.1e}")


if __name__ == "__main__":
    main()
