"""Tangent kernels: our methods against each other, nngeometry, vmap(jacrev) and neural-tangents; memory; growth.

python benchmarks/tangent_kernel.py [SECTION ...] [--quick] [--repeats 3] [--resnet 512] [--streamed 20000]

Sections: nngeometry, plain, neural-tangents, methods, growth, resnet, and only when named streamed, whose kernel of a
CNN on MNIST is written to --folder and taken up from there.

nngeometry lives in the environment of ``peers.sh``, neural-tangents in that of ``peers_jax.sh``. Without them, their
comparisons are skipped. On a machine with CUDA everything but neural-tangents runs there.
"""

from __future__ import annotations

import argparse
import copy
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from learnscope.distributions.images import mnist
from learnscope.kernels import TangentKernel, stream_tangent_kernel, tangent_kernel
from timing import THREADS, Timing, heading, largest_relative_difference, line, peer, race, timed

HERE = Path(__file__).parent
JAX = HERE / ".environments" / "jax" / "bin" / "python"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
METHODS = ("auto", "layerwise", "jacobian", "functional")
HOPELESS = 4  # times slower on a quarter of the inputs than the quickest, and a method is not tried on all


@dataclass(frozen=True)
class Case:
    """A network and inputs."""

    name: str
    make: Callable[[int], nn.Sequential]
    shape: tuple[int, ...]
    n: int
    outputs: int

    @property
    def title(self) -> str:
        """The name with the numbers of inputs and outputs."""
        return f"{self.name} N={self.n} O={self.outputs}"

    def build(self) -> tuple[nn.Sequential, Tensor]:
        """Return the network and inputs, always the same."""
        torch.manual_seed(0)
        return self.make(self.outputs).to(DEVICE), torch.randn(self.n, *self.shape, device=DEVICE)


def mlp(outputs: int, width: int = 512) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


def cnn(outputs: int, width: int = 32) -> nn.Sequential:
    channels = (3, width, width, width)
    layers = [layer for i, o in pairwise(channels) for layer in (nn.Conv2d(i, o, 3, padding=1), nn.ReLU())]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * 256, outputs))


class Block(nn.Module):
    """Two 3 × 3 convolutions beside a short cut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.short: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Add what both make of x."""
        return torch.relu(self.body(x) + self.short(x))


def resnet18(outputs: int) -> nn.Sequential:
    """Return the network of He et al. 2016 for images of 32 × 32: 11.2 million parameters."""
    widths, layers = (64, 64, 128, 256, 512), []
    for before, after in pairwise(widths):
        layers += [Block(before, after, 1 if after == 64 else 2), Block(after, after, 1)]
    stem = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    return nn.Sequential(*stem, *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, outputs)).eval()


CASES = (
    Case("MLP", mlp, (784,), 128, 1),
    Case("MLP", mlp, (784,), 64, 10),
    Case("CNN", cnn, (3, 16, 16), 32, 1),
    Case("CNN", cnn, (3, 16, 16), 16, 10),
    Case("MLP", mlp, (784,), 1024, 10),
    Case("CNN", cnn, (3, 16, 16), 256, 10),
)


def ours(model: nn.Module, x: Tensor, **options: Any) -> Tensor:
    return finished(tangent_kernel(model, x, **options))


def finished(kernel: Tensor | dict[str, Tensor]) -> Tensor:
    """Return a kernel once the device has computed it."""
    assert isinstance(kernel, Tensor)
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return kernel


def plain_jacobian(model: nn.Module, x: Tensor) -> Tensor:
    """Contract the Jacobians of ``vmap(jacrev)``, as the tutorial of torch.func does."""
    named = {name: p.detach() for name, p in model.named_parameters()}

    def outputs(parameters: dict[str, Tensor], example: Tensor) -> Tensor:
        return functional_call(model, parameters, (example[None],))[0]

    found = vmap(jacrev(outputs), (None, 0))(named, x)
    parts = [torch.einsum("nkp,mlp->nmkl", each.flatten(2), each.flatten(2)) for each in found.values()]
    return finished(torch.stack(parts).sum(0))


def compare_methods(cases: tuple[Case, ...], repeats: int) -> None:
    """Print the seconds of each of our methods, alternating; "-" where it is hopeless on a quarter of the inputs."""
    print(f"\n{'our own methods, full kernel':28}" + "".join(f"{name:>12}" for name in METHODS) + "   auto / best")
    for case in cases:
        seconds = _methods(case, 1 if case.n * case.outputs > 2000 else 4 * repeats)
        shown = "".join(f"{seconds[m]:12.4f}" if m in seconds else f"{'-':>12}" for m in METHODS)
        print(f"{case.title:28}{shown}   {seconds.get('auto', math.nan) / min(seconds.values()):.2f}")


def _methods(case: Case, rounds: int) -> dict[str, float]:
    model, x = case.build()
    few = x[: max(2, len(x) // 4)]
    quarter = {method: timed(lambda method=method: ours(model, few, method=method), 2).wall for method in METHODS}
    tried = [method for method in METHODS if quarter[method] <= HOPELESS * min(quarter.values())]
    walls: dict[str, list[float]] = {method: [] for method in tried}
    for _ in range(rounds):
        for method in tried:
            walls[method].append(timed(lambda method=method: ours(model, x, method=method), 1).wall)
    return {method: statistics.median(each) for method, each in walls.items()}


def against_nngeometry(cases: tuple[Case, ...], repeats: int) -> None:
    library = peer("nngeometry", "nngeometry")
    if library is None:
        return
    from torch.utils.data import DataLoader, TensorDataset

    for case in cases:
        model, x = case.build()

        def theirs(model: nn.Module = model, x: Tensor = x) -> Tensor:
            loader = DataLoader(TensorDataset(x), batch_size=len(x))
            return library.GramMatrix(model=model, loader=loader).data

        slow = case.n * case.outputs > 2000
        both = race(lambda model=model, x=x: ours(model, x), theirs, 1 if slow else repeats)
        difference = largest_relative_difference(_flat(both[0].result), _flat(both[1].result.permute(1, 3, 0, 2)))
        line(f"{case.title}, nngeometry", *both, difference)


def against_plain_jacobian(cases: tuple[Case, ...], repeats: int) -> None:
    for case in cases:
        model, x = case.build()
        both = race(lambda model=model, x=x: ours(model, x), lambda model=model, x=x: plain_jacobian(model, x), repeats)
        difference = largest_relative_difference(_flat(both[0].result), _flat(both[1].result))
        line(f"{case.title}, vmap(jacrev)", *both, difference)


class NeuralTangents:
    """neural-tangents in a process of its own, compiled for a network and inputs; a context that ends it."""

    def __init__(self, model: nn.Sequential, x: Tensor) -> None:
        self._folder = tempfile.TemporaryDirectory()
        arrays = [tensor.detach().cpu().numpy() for tensor in (x, *model.parameters())]
        np.savez(Path(self._folder.name) / "case.npz", *arrays)
        self._process = subprocess.Popen(
            [str(JAX), str(HERE / "neural_tangents_peer.py"), self._folder.name, str(THREADS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self._told() != "ready":
            raise RuntimeError(f"neural-tangents did not start: try {JAX} {HERE / 'neural_tangents_peer.py'}")

    def __enter__(self) -> NeuralTangents:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate("quit\n")
        self._folder.cleanup()

    def once(self) -> Timing:
        """Have it compute once."""
        wall, processor = map(float, self._told("run").split())
        return Timing(wall, processor, None)

    def kernel(self) -> np.ndarray:
        """Return what it computed."""
        self._told("save")
        return np.load(Path(self._folder.name) / "kernel.npy")

    def _told(self, order: str | None = None) -> str:
        """Give an order, if any, and return the next line that it prints."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if order:
            print(order, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()


def against_neural_tangents(cases: tuple[Case, ...], repeats: int) -> None:
    """Compare steady times: theirs compiled before, ours prepared before; and plain calls, which prepare themselves."""
    if not JAX.exists():
        print("neural-tangents is skipped: benchmarks/peers_jax.sh makes an environment with it.")
        return
    for case in cases:
        model, x = case.build()
        prepared = TangentKernel(model, x)
        rounds = 1 if case.n * case.outputs > 2000 else 7 * repeats
        with NeuralTangents(model, x) as peers:
            for way, kernel in (("prepared", prepared), ("plain call", lambda x, model=model: ours(model, x))):
                finished(kernel(x))
                timings = [
                    (timed(lambda kernel=kernel, x=x: finished(kernel(x)), 1), peers.once()) for _ in range(rounds)
                ]
                mine, theirs = (
                    sorted(each, key=lambda timing: timing.wall)[rounds // 2] for each in zip(*timings, strict=True)
                )
                difference = largest_relative_difference(_flat(mine.result), peers.kernel())
                line(f"{case.title}, neural-tangents, {way}", mine, theirs, difference)


def in_own_process(section: str, *numbers: object) -> None:
    """Run a section whose peak memory counts in a process of its own."""
    command = [sys.executable, __file__, "--alone", section, *map(str, numbers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for text in process.stdout:
            print(text, end="", flush=True)


def resnet_alone(n: int, budget: int) -> None:
    """Print time, peak memory and a spot check of the trace kernel of ResNet-18."""
    torch.manual_seed(0)
    model, x = resnet18(10).to(DEVICE), torch.randn(n, 3, 32, 32, device=DEVICE)
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    before, start, processor = peak(), time.perf_counter(), time.process_time()
    kernel = ours(model, x, outputs="trace", budget=budget)
    wall, processor = time.perf_counter() - start, time.process_time() - processor
    print(
        f"ResNet-18 ({parameters:.1f} million parameters), trace kernel, N = {n}: {wall:.0f} s, {processor:.0f} s of "
        f"processors, peak {peak():.2f} GB of the process ({before:.2f} GB before), budget {budget / 1e9:.1f} GB"
    )
    pairs = ((0, 0), (0, n - 1), (n // 2, n // 3))
    print(
        f"{len(pairs)} pairs by autograd in float64: largest relative error {spot_check(kernel, model, x, pairs):.1e}"
    )


def spot_check(
    kernel: Tensor | Mapping[tuple[int, int], Tensor], model: nn.Module, x: Tensor, pairs: tuple[tuple[int, int], ...]
) -> float:
    """Return the largest relative error of entries of a trace kernel, by a backward pass for each output in float64."""
    model, x = copy.deepcopy(model).double(), x.double()
    parameters = list(model.parameters())

    def gradients(i: int) -> Tensor:
        rows = [torch.autograd.grad(f, parameters, retain_graph=True) for f in model(x[i : i + 1])[0]]
        return torch.cat([g.flatten() for row in rows for g in row])

    truths = [float(gradients(i) @ gradients(j)) for i, j in pairs]
    return max(abs(float(kernel[i, j]) / truth - 1) for (i, j), truth in zip(pairs, truths, strict=True))


def mnist_cnn() -> nn.Sequential:
    """Return two convolutions with pooling and a linear layer: 20,490 parameters."""
    blocks = [
        layer for i, o in ((1, 16), (16, 32)) for layer in (nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    ]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(1568, 10))


def streamed_alone(n: int, folder: str) -> None:
    """Stream the trace kernel of a CNN on MNIST to disk, and print progress, time, peak memory and a spot check."""
    torch.manual_seed(0)
    model, x = mnist_cnn().to(DEVICE), mnist().x_train[:n].to(DEVICE)
    before, start, processor = peak(), time.perf_counter(), time.process_time()
    found: list[int] = []

    def watch(done: int, total: int) -> None:
        found.append(done)
        print(f"{done} of {total} tiles, {time.perf_counter() - start:.0f} s, peak {peak():.2f} GB", flush=True)

    array = stream_tangent_kernel(folder, model, x, watch=watch)
    wall, processor = time.perf_counter() - start, time.process_time() - processor
    print(
        f"trace kernel of a CNN on MNIST, N = {n}, {found[-1] - found[0]} of {found[-1]} tiles in this run: "
        f"{wall:.0f} s, {processor:.0f} s of processors, peak {peak():.2f} GB of the process ({before:.2f} GB before)"
    )
    pairs = ((0, 0), (0, n - 1), (n // 2, n // 3))
    entries = {pair: torch.from_numpy(np.asarray(array[pair])) for pair in pairs}
    error = spot_check(entries, model, x, pairs)
    print(f"{len(pairs)} pairs by autograd in float64: largest relative error {error:.1e}")


def peak() -> float:
    if DEVICE == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def growth(quick: bool) -> None:
    """Print seconds against N and width, and the exponents of the power laws between the largest two and overall."""
    sizes = (32, 64, 128, 256) if quick else (64, 128, 256, 512)
    for name, make, shape in (("MLP", mlp, (784,)), ("CNN", cnn, (3, 16, 16))):
        for outputs in ("all", "trace"):
            cases = [Case(name, make, shape, n if name == "MLP" else n // 4, 10) for n in sizes]
            seconds = [_seconds(case, outputs) for case in cases]
            _report(f"{name} O=10 {outputs!r}, N", [case.n for case in cases], seconds)
    widths = (128, 256, 512, 1024)
    for name, make, shape, n, scale in (("MLP", mlp, (784,), 128, 1), ("CNN", cnn, (3, 16, 16), 16, 16)):
        cases = [Case(name, lambda o, w=w, make=make: make(o, w), shape, n, 10) for w in (w // scale for w in widths)]
        _report(f"{name} N={n} O=10, width", [w // scale for w in widths], [_seconds(case, "all") for case in cases])


def _seconds(case: Case, outputs: str) -> float:
    model, x = case.build()
    return timed(lambda: ours(model, x, outputs=outputs), 3).wall


def _report(what: str, sizes: list[int], seconds: list[float]) -> None:
    logs = np.log(sizes), np.log(seconds)
    slope, last = np.polyfit(*logs, 1)[0], (logs[1][-1] - logs[1][-2]) / (logs[0][-1] - logs[0][-2])
    shown = ", ".join(f"{size}: {value:.4f}" for size, value in zip(sizes, seconds, strict=True))
    print(f"{what:26} {shown} s; exponent {slope:.2f}, {last:.2f} at the end")


def _flat(kernel: Tensor) -> np.ndarray:
    return kernel.detach().cpu().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="all but streamed by default")
    parser.add_argument("--quick", action="store_true", help="the small cases only")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--resnet", type=int, default=512, help="examples of the kernel of ResNet-18")
    parser.add_argument("--budget", type=float, default=5e9, help="bytes for it")
    parser.add_argument("--streamed", type=int, default=20_000, help="examples of the kernel that is streamed to disk")
    parser.add_argument("--folder", default=str(Path(tempfile.gettempdir()) / "tangent_kernel_of_mnist.zarr"))
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(THREADS)
    if options.alone:
        section, n, other = options.alone
        resnet_alone(int(n), int(other)) if section == "resnet" else streamed_alone(int(n), other)
        return
    cases = CASES[:4] if options.quick else CASES
    sections: dict[str, Callable[[], None]] = {
        "nngeometry": lambda: against_nngeometry(cases, options.repeats),
        "plain": lambda: against_plain_jacobian(CASES[:4], options.repeats),
        "neural-tangents": lambda: against_neural_tangents(cases, options.repeats),
        "methods": lambda: compare_methods(cases, options.repeats),
        "growth": lambda: growth(options.quick),
        "resnet": lambda: in_own_process("resnet", options.resnet, int(options.budget)),
        "streamed": lambda: in_own_process("streamed", options.streamed, options.folder),
    }
    if unknown := set(options.sections) - sections.keys():
        parser.error(f"no section {sorted(unknown)}: choose from {', '.join(sections)}")
    heading()
    print(f"on {torch.cuda.get_device_name() if DEVICE == 'cuda' else 'the processor'}; ratios are theirs over ours")
    for name in options.sections or [name for name in sections if name != "streamed"]:
        sections[name]()


if __name__ == "__main__":
    main()
