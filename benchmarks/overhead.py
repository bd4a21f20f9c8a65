"""What the default scope adds to the training of a small CNN on MNIST: 3 epochs, a probe of 1,000 examples.

Run with ``LEARNSCOPE_DATA`` naming a folder with ``mnist.npz`` (or let it download). Training and measuring happen in
one run: the time of each measurement is taken apart, so both are under the same load of the machine.
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F

import learnscope as ls
from learnscope.distributions.images import load_images
from learnscope.errors import LearnscopeError
from learnscope.networks.catalogue import build
from learnscope.randomness import generator

EPOCHS, BATCH, PROBE = 3, 64, 1000
TARGET = 0.10


def main() -> None:
    """Train under the scope and print the share of the time that measuring took, by observable."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        images = load_images("mnist")
    except LearnscopeError as error:
        print(f"overhead: skipped, because MNIST is not at hand ({error})")
        return
    model = build("cnn", (1, 28, 28), 10, generator("overhead", 0))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    begin = time.perf_counter()
    scope = ls.Scope(model, probe=(images.x_test[:PROBE], images.y_test[:PROBE]))
    before = time.perf_counter() - begin - sum(scope.seconds.values())
    begin = time.perf_counter()
    inside = -sum(scope.seconds.values())
    for epoch in range(arguments.epochs):
        order = torch.randperm(len(images.x_train), generator=generator("overhead", "order", epoch))
        for batch in order.split(BATCH):
            loss = F.cross_entropy(model(images.x_train[batch]), images.y_train[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            scope.step(loss=loss)
    inside += sum(scope.seconds.values())
    training = time.perf_counter() - begin - inside
    scope.close()
    _print(scope, training, before)


def _print(scope: ls.Scope, training: float, before: float) -> None:
    measurements = len(scope.record.store.steps())
    measuring = sum(scope.seconds.values())
    print(f"small CNN on MNIST, {scope.current_step:,} steps, {measurements} measurements of {PROBE} examples")
    for name, seconds in sorted(scope.seconds.items(), key=lambda item: -item[1]):
        print(f"  {name:22s}{seconds / measurements * 1e3:9.1f} ms a measurement{seconds / training:8.2%} of training")
    print(f"  {'setting up':22s}{before * 1e3:9.1f} ms once         {before / training:8.2%} of training")
    total = (measuring + before) / training
    verdict = "within" if total <= TARGET else "ABOVE"
    print(
        f"  training {training:.1f} s, scope {measuring + before:.1f} s: overhead {total:.1%}, {verdict} {TARGET:.0%}"
    )


if __name__ == "__main__":
    main()
