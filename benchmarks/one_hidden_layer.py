"""Ensembles of one hidden layer: our fused kernels against JAX, PyTorch, and one run to t* of the stripe model.

python benchmarks/one_hidden_layer.py [--repeats 3] [--threads 2]

Full-batch gradient descent on rectifiers with the hinge loss, float32, same data, same starts, same number of steps for
all, results compared. A time is that of the whole call on tensors that lie in memory, with all set-up (ours is printed)
and without compilation, which a call before has done for each. JAX runs in an environment of its own
(benchmarks/peers_scan.sh), PyTorch eagerly under vmap and network by network, and compiled. Network by network is timed
on a few networks and multiplied, because each takes as long. GFLOP/s count 2 (3 d + 4) operations for each pair of an
example and a neuron in a step; the peak is that of multiply-adds in registers, measured on the same threads. The run to
t* is that of the original code of the stripe model, which took 52 s of wall time on two threads of such a machine
(measured once, one seed).
"""

from __future__ import annotations

import argparse
import math
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numba
import numpy as np
import torch
from torch import Tensor

import timing
from learnscope.dynamics.shallow import Run, Stop, descend, flow
from learnscope.dynamics.shallow.compiled.lanes import REGISTER_BYTES
from learnscope.networks.activations import activation
from learnscope.networks.one_hidden_layer import OneHiddenLayer, one_hidden_layer
from learnscope.randomness import generator
from timing import Timing, heading, largest_relative_difference, line, timed

ALPHA, RATE = 1.0, 0.1
JAX = Path(__file__).parent / ".environments" / "scan" / "bin" / "python"
ORIGINAL_SECONDS = 52.0
PARTS = ("weights", "biases", "outputs")


class Shape(NamedTuple):
    """An ensemble: networks, examples, inputs, neurons, and steps to take."""

    networks: int
    n: int
    dim: int
    width: int
    steps: int

    def operations(self) -> float:
        """Return the floating-point operations of the training."""
        return 2.0 * (3 * self.dim + 4) * self.n * self.width * self.networks * self.steps


SHAPES = (Shape(64, 256, 10, 256, 200), Shape(256, 64, 2, 100, 1000), Shape(8, 1024, 10, 1024, 50))
FEW = 4  # networks that are timed one by one
IN_REGISTERS = 12 * REGISTER_BYTES // 4  # numbers in twelve registers, enough to hide the latency of a multiply-add


def ensemble(shape: Shape) -> tuple[list[OneHiddenLayer], list[Tensor], list[Tensor]]:
    """Return networks, points and labels of the stripe, in float32."""
    networks, xs, ys = [], [], []
    for k in range(shape.networks):
        source = generator("benchmark", k)
        networks.append(one_hidden_layer(shape.width, shape.dim, source, dtype=torch.float32))
        x = torch.randn(shape.n, shape.dim, generator=source)
        xs.append(x)
        ys.append(torch.where((x[:, 0] > -0.3) & (x[:, 0] < 1.18549), -1.0, 1.0))
    return networks, xs, ys


def stacked(networks: list[OneHiddenLayer]) -> list[Tensor]:
    """Return weights, biases and outputs of all networks."""
    return [torch.stack([getattr(network, part) for network in networks]) for part in PARTS]


def ours(shape: Shape, networks: list[OneHiddenLayer], xs: list[Tensor], ys: list[Tensor]) -> np.ndarray:
    """Train the ensemble by the fused kernels and return the predictions."""
    runs = descend(networks, xs, ys, alpha=ALPHA, learning_rate=RATE, n_steps=shape.steps)
    return torch.stack([run.outputs for run in runs]).numpy()


def f(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return the outputs of one network."""
    weights, biases, heads = parameters
    return torch.relu(x @ weights.mT / math.sqrt(x.shape[-1]) + biases) @ heads / heads.shape[-1]


def hinge(parameters: Sequence[Tensor], first: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the loss of one network."""
    return torch.relu(1 - y * ALPHA * (f(parameters, x) - first)).mean() / ALPHA


def in_torch(shape: Shape, start: Sequence[Tensor], x: Tensor, y: Tensor, gradient: Callable[..., Any]) -> np.ndarray:
    """Train a stack of networks, or one, with a function that returns the gradient, and return the predictions."""
    outputs = torch.func.vmap(f) if x.ndim == 3 else f
    parameters = tuple(tensor.clone() for tensor in start)
    first = outputs(parameters, x)
    for _ in range(shape.steps):
        slopes = gradient(parameters, first, x, y)
        parameters = tuple(p - RATE * shape.width * s for p, s in zip(parameters, slopes, strict=True))
    return (ALPHA * (outputs(parameters, x) - first)).numpy()


def in_torch_together(
    shape: Shape, start: Sequence[Tensor], x: Tensor, y: Tensor, gradient: Callable[..., Any], repeats: int
) -> Timing:
    """Time PyTorch on all networks at once, after a step in which it compiles what it compiles."""
    in_torch(shape._replace(steps=1), start, x, y, gradient)
    return timed(lambda: in_torch(shape, start, x, y, gradient), repeats)


def one_by_one(shape: Shape, start: Sequence[Tensor], x: Tensor, y: Tensor) -> Timing:
    """Time PyTorch on a few of the networks, one after another, and return what all would take."""
    one, few = torch.func.grad(hinge), min(FEW, shape.networks)

    def some() -> np.ndarray:
        return np.stack([in_torch(shape, [p[k] for p in start], x[k], y[k], one) for k in range(few)])

    took, share = timed(some, 1), shape.networks / few
    return Timing(took.wall * share, took.processor * share, took.result)


def in_jax(shape: Shape, start: Sequence[Tensor], x: Tensor, y: Tensor, repeats: int) -> Timing | None:
    """Train the ensemble in JAX's environment, or say that it is missing."""
    if not JAX.exists():
        print("JAX is not installed here and is skipped: benchmarks/peers_scan.sh makes an environment with it.")
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "given.npz", Path(folder) / "found.npz"
        arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in zip(PARTS, start, strict=True)}
        np.savez(source, x=x.numpy(), y=y.numpy(), alpha=ALPHA, rate=RATE, steps=shape.steps, **arrays)
        script = Path(__file__).with_name("one_hidden_layer_jax.py")
        subprocess.run([str(JAX), str(script), str(source), str(target), str(repeats)], check=True)
        found = np.load(target)
        return Timing(float(found["wall"]), float(found["processor"]), found["predictions"])


@numba.njit(nogil=True, fastmath=True, error_model="numpy")
def multiply_adds(n: int, values: np.ndarray) -> None:
    """Run n multiply-adds on each of some numbers, which stay in registers."""
    numbers = values.copy()
    for _ in range(n):
        for k in range(IN_REGISTERS):
            numbers[k] = numbers[k] * np.float32(0.999) + np.float32(0.001)
    values[:] = numbers


def peak(threads: int) -> float:
    """Return the measured GFLOP/s of multiply-adds in float32 on all threads."""
    count = 4_000_000
    arrays = [np.ones(IN_REGISTERS, np.float32) for _ in range(threads)]
    multiply_adds(10, arrays[0])
    best = math.inf
    for _ in range(3):
        begin = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda array: multiply_adds(count, array), arrays))
        best = min(best, time.perf_counter() - begin)
    return 2 * IN_REGISTERS * count * threads / best / 1e9


def compare(shape: Shape, repeats: int, summit: float) -> None:
    """Time ours and every peer on one shape and print the comparisons."""
    networks, xs, ys = ensemble(shape)
    start, x, y = stacked(networks), torch.stack(xs), torch.stack(ys)
    ours(shape._replace(steps=1), networks, xs, ys)
    once = timed(lambda: ours(shape._replace(steps=1), networks, xs, ys), repeats).wall
    mine = timed(lambda: ours(shape, networks, xs, ys), repeats)
    speed = shape.operations() / mine.wall / 1e9
    print(
        f"{shape.networks} x (p={shape.n} d={shape.dim} h={shape.width}), {shape.steps} steps: {mine.wall:.3f} s, ",
        end="",
    )
    print(f"set-up and one step {once:.3f} s, {speed:.0f} GFLOP/s, {speed / summit:.0%} of the measured peak")

    def told(name: str, theirs: Timing) -> None:
        difference = largest_relative_difference(mine.result[: len(theirs.result)], theirs.result)
        line(f"  {name}", mine, theirs, difference)

    many = torch.func.vmap(torch.func.grad(hinge))
    for name, gradient in (("torch.compile", torch.compile(many)), ("torch vmap", many)):
        told(name, in_torch_together(shape, start, x, y, gradient, repeats))
    told("torch, one by one", one_by_one(shape, start, x, y))
    if (jax := in_jax(shape, start, x, y, repeats)) is not None:
        told("jax scan, vmap", jax)


def to_first_tenth() -> tuple[Run, float]:
    """Run the stripe model until a tenth of the points is fitted, and return the run and its seconds."""
    source = generator("stripe")
    x = torch.randn(1000, 10, generator=source, dtype=torch.float64)
    y = torch.where((x[:, 0] > -0.3) & (x[:, 0] < 1.18549), -1.0, 1.0).double()
    start = one_hidden_layer(1000, 10, source, activation=activation("normalised_softplus", 5.0))
    arguments = {"alpha": 1e-6, "loss": "soft_hinge"}
    flow([start], x, y, stop=Stop(max_steps=1), **arguments)
    begin = time.perf_counter()
    (run,) = flow([start], x, y, stop=Stop(fraction=0.1), **arguments)
    return run, time.perf_counter() - begin


def exponents() -> None:
    """Fit how the time of a training grows with each size, others fixed."""
    base = Shape(8, 256, 8, 256, 100)
    sizes = {"n": (256, 512, 1024), "width": (256, 512, 1024), "dim": (8, 16, 32), "networks": (8, 16, 32)}
    for name, values in sizes.items():
        seconds = []
        for value in values:
            shape = base._replace(**{name: value})
            networks, xs, ys = ensemble(shape)
            seconds.append(timed(lambda s=shape, a=networks, b=xs, c=ys: ours(s, a, b, c), 3).wall)
        slope = np.polyfit(np.log(values), np.log(seconds), 1)[0]
        print(f"time grows as {name}^{slope:.2f} over {values}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=timing.THREADS)
    options = parser.parse_args()
    timing.THREADS = options.threads
    heading()
    summit = peak(options.threads)
    print(f"{llvm.get_host_cpu_name()}, measured peak of multiply-adds in float32: {summit:.0f} GFLOP/s")
    for shape in SHAPES:
        compare(shape, options.repeats, summit)
    run, seconds = to_first_tenth()
    told = f"stripe to t* = {run.time:.1f} in {run.n_steps} steps, accumulated error {run.accumulated_error:.2f}"
    print(f"{told}: {seconds:.2f} s, the original code {ORIGINAL_SECONDS:.0f} s, {ORIGINAL_SECONDS / seconds:.0f}x")
    exponents()


if __name__ == "__main__":
    main()
