"""What the default scope adds to the training of small CNNs on MNIST: 3 epochs, a probe of 1,000 examples.

Run with ``LEARNSCOPE_DATA`` naming a folder with ``mnist.npz``, or let it download. Training and measuring happen in
one run and are timed apart, so both are under the same load of the machine. The target is judged on the network of
Ansuini et al. 2019 (conv 32, pool, conv 64, pool, 128, 10) and on the demo's, which is four times smaller.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from torch import nn

from learnscope.distributions.images import Images, load_images
from learnscope.errors import LearnscopeError
from learnscope.kernels.products import load_forward_mode
from learnscope.networks.convolutional import Convolutional
from learnscope.observables import simple_models
from learnscope.randomness import generator
from learnscope.scope.scope import Scope

EPOCHS, BATCH, PROBE = 3, 64, 1000
TARGET = 0.10
NETWORKS = {"Ansuini et al.'s CNN (32, 64, 128)": ((32, 64), 128), "the demo's CNN (16, 32, 64)": ((16, 32), 64)}


def main() -> None:
    """Train each network under the scope and print the share of the time that measuring took, by observable."""
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
    begin = time.perf_counter()
    simple_models.linear_classifier()
    xr.Variable((), 0.0)
    load_forward_mode()
    imports = time.perf_counter() - begin
    print(
        "importing scikit-learn, and what xarray and PyTorch's forward mode import at first use, once a process, ",
        end="",
    )
    print(f"not counted: {imports:.1f} s")
    for name, (widths, hidden) in NETWORKS.items():
        weights = generator("overhead", 0)
        model = Convolutional(1, 10, size=(28, 28), widths=widths, hidden=hidden, generator=weights)
        print(f"{name}: {_watched_training(model, images, arguments.epochs)}")


def _watched_training(model: nn.Module, images: Images, epochs: int) -> str:
    """Train under the scope; return a table of what each observable cost, and everything else that the scope did."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    begin = _clocks()
    scope = Scope(model, probe=(images.x_test[:PROBE], images.y_test[:PROBE]))
    scoped = _clocks() - begin
    set_up = float(scoped[0]) - sum(scope.seconds.values())
    begin, stepping = _clocks(), list[tuple[float, float]]()
    for epoch in range(epochs):
        order = torch.randperm(len(images.x_train), generator=generator("overhead", "order", epoch))
        for batch in order.split(BATCH):
            loss = F.cross_entropy(model(images.x_train[batch]), images.y_train[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            began_processor, began = time.process_time(), time.perf_counter()
            scope.step(loss=loss)
            stepping.append((time.perf_counter() - began, time.process_time() - began_processor))
    stepped = np.sum(stepping, axis=0)
    training = _clocks() - begin - stepped
    begin = _clocks()
    scope.close()
    return _table(scope, training, set_up, scoped + stepped + _clocks() - begin)


def _clocks() -> np.ndarray:
    """Return the time, and the processor time of this process, which other processes lengthen less, in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def _table(scope: Scope, training: np.ndarray, set_up: float, scoped: np.ndarray) -> str:
    measurements = len(scope.record.store.steps())
    parts = scope.seconds
    parts["the rest"] = float(scoped[0]) - set_up - sum(parts.values())
    rows = [f"{scope.current_step:,} steps, {measurements} measurements of {PROBE} examples"]
    for name, seconds in sorted(parts.items(), key=lambda item: -item[1]):
        each = seconds / measurements * 1e3
        rows.append(f"  {name:22s}{each:9.1f} ms a measurement{seconds / training[0]:8.2%} of training")
    rows.append(f"  {'setting up':22s}{set_up * 1e3:9.1f} ms once         {set_up / training[0]:8.2%} of training")
    share, processor_share = scoped / training
    verdict = "within" if share <= TARGET else "ABOVE"
    rows.append(
        f"  training {training[0]:.1f} s, scope {scoped[0]:.1f} s: {share:.1%}, {verdict} {TARGET:.0%} "
        f"({processor_share:.1%} of processor time)"
    )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
