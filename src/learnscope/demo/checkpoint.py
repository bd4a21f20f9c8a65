"""Where a training run stood, so that it can be taken up again bit for bit."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from learnscope.errors import StoreError

NAME = "checkpoint.safetensors"


def save(folder: Path, run: str, step: int, model: nn.Module, optimiser: torch.optim.SGD) -> None:
    """Write the model, the optimiser's momentum and the step to one file, replaced atomically.

    Args:
        folder: where it goes.
        run: what is trained on what, so that another run is not taken up by mistake.
        step: the step that was reached.
        model: the network.
        optimiser: its optimiser.
    """
    tensors: dict[str, Tensor] = {f"model.{k}": v.contiguous() for k, v in model.state_dict().items()}
    for k, state in optimiser.state_dict()["state"].items():
        if state.get("momentum_buffer") is not None:
            tensors[f"momentum.{k}"] = state["momentum_buffer"].contiguous()
    partial = folder / f"{NAME}.partial"
    save_file(tensors, partial, metadata={"run": run, "step": str(step)})
    partial.replace(folder / NAME)


def load(folder: Path, run: str, model: nn.Module, optimiser: torch.optim.SGD) -> int:
    """Load what :func:`save` wrote, if it is there; return the step, 0 without a checkpoint.

    Raises:
        StoreError: if the folder holds another run.
    """
    path = folder / NAME
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a dict
    if metadata.get("run") != run:
        other = f"the run {metadata['run']!r}" if "run" in metadata else f"another program's {NAME}"
        raise StoreError(
            f"{str(folder)!r} holds {other}, but {run!r} was asked for: choose another folder with --store, or remove "
            "this one."
        )
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    momenta = {int(k.removeprefix("momentum.")): v for k, v in tensors.items() if k.startswith("momentum.")}
    state = optimiser.state_dict()
    state["state"] = {k: {"momentum_buffer": v} for k, v in momenta.items()}
    optimiser.load_state_dict(state)
    return int(metadata["step"])
