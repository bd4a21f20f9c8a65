"""Which engine trains a problem, and networks side by side on the cores."""

from __future__ import annotations

import importlib.util
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cache
from typing import Literal, TypeVar

import torch

from learnscope.dynamics.shallow.problem import Problem
from learnscope.errors import InputError, nearest_names

Name = Literal["reference", "fused", "triton"]
NAMES = ("auto", "reference", "fused", "triton")
LARGEST_DIM = 127  # of a network whose gradients stay in the registers of a graphics processor
Task = TypeVar("Task")
Result = TypeVar("Result")


def engine_for(problem: Problem, name: str) -> Name:
    """Return the engine that a name stands for.

    For "auto" that is the compiled kernels on the CPU and Triton's on a GPU, where they can run, or else the reference.

    Raises:
        InputError: if there is no such engine, or it cannot train the problem here.

    Examples:
        >>> from learnscope.dynamics.margin_losses import MarginLoss
        >>> from learnscope.networks.one_hidden_layer import one_hidden_layer
        >>> network = one_hidden_layer(2, 1, torch.Generator().manual_seed(0))
        >>> problem = Problem(network, torch.ones(1, 1), torch.ones(1), 1.0, MarginLoss("hinge"), frozenset(), True)
        >>> engine_for(problem, "auto"), engine_for(problem, "reference")
        ('fused', 'reference')
    """
    if name not in NAMES:
        raise InputError(f"engine {name!r} is not known here: choose {nearest_names(name, NAMES)}.")
    if name == "reference":
        return "reference"
    on_gpu = problem.network.weights.device.type == "cuda"
    chosen: Name = "triton" if name == "triton" or (name == "auto" and on_gpu) else "fused"
    reason = _unsupported_by_triton(problem) if chosen == "triton" else _unsupported(problem)
    if not reason:
        return chosen
    if name != "auto":
        raise InputError(f"the {name} engine cannot train this network: {reason}; choose engine='auto'.")
    _say_once(f"One-hidden-layer networks are trained by the slower reference engine here: {reason}.")
    return "reference"


def _unsupported(problem: Problem) -> str:
    """Return why the fused kernels cannot train a problem, empty if they can."""
    device = problem.network.weights.device
    if device.type != "cpu":
        return f"its parameters are on {device}, and the kernels run on the CPU"
    return "" if importlib.util.find_spec("numba") else "Numba is not installed"


def _unsupported_by_triton(problem: Problem) -> str:
    """Return why Triton's kernels cannot train a problem, empty if they can; its interpreter runs them on the CPU."""
    device, dim = problem.network.weights.device, problem.network.dim
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"its parameters are on {device}, and the kernels run on a GPU"
    if not importlib.util.find_spec("triton"):
        return "Triton is not installed"
    return "" if dim <= LARGEST_DIM else f"it has {dim} inputs, and the kernels take up to {LARGEST_DIM}"


@cache
def _say_once(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=4)


def threads_for_each(count: int) -> int:
    """Return how many of the threads that torch may use are there for each of a few networks: 1 unless there are fewer.

    Examples:
        >>> threads_for_each(10_000)
        1
    """
    return max(1, torch.get_num_threads() // count)


def side_by_side(function: Callable[[Task, threading.Event], Result], tasks: Sequence[Task]) -> list[Result]:
    """Return ``function(task, halt)`` of each task, on as many threads as torch may use.

    If one raises, or Ctrl-C is pressed, ``halt`` is set, and those that are running are expected to raise soon.
    """
    halt, results, waiting = threading.Event(), dict[int, Result](), iter(range(len(tasks)))
    workers = min(len(tasks), torch.get_num_threads())
    if workers == 1:
        return [function(task, halt) for task in tasks]

    def work() -> None:
        # Python's lock makes `next` safe; a future for each task would take as long as a small network's set-up.
        for place in waiting:
            if halt.is_set():
                return
            results[place] = function(tasks[place], halt)

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work) for _ in range(workers)]
        try:
            for future in as_completed(futures):
                future.result()
        finally:
            halt.set()
    return [results[place] for place in range(len(tasks))]
