"""Where a training run stood, so that it can be taken up again bit for bit."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

NAME = "checkpoint.safetensors"
STEP = "step"


def save(folder: Path, step: int, model: nn.Module, optimiser: torch.optim.SGD) -> None:
    """Write the model, the optimiser's momentum and the step to one file, replaced atomically."""
    tensors: dict[str, Tensor] = {f"model.{k}": v.contiguous() for k, v in model.state_dict().items()}
    for k, state in optimiser.state_dict()["state"].items():
        if state.get("momentum_buffer") is not None:
            tensors[f"momentum.{k}"] = state["momentum_buffer"].contiguous()
    tensors[STEP] = torch.tensor(step)
    partial = folder / f"{NAME}.partial"
    save_file(tensors, partial)
    partial.replace(folder / NAME)


def load(folder: Path, model: nn.Module, optimiser: torch.optim.SGD) -> int:
    """Load what :func:`save` wrote, if it is there; return the step, 0 without a checkpoint."""
    path = folder / NAME
    if not path.exists():
        return 0
    tensors = load_file(path)
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    state = optimiser.state_dict()
    state["state"] = {
        int(k.removeprefix("momentum.")): {"momentum_buffer": v}
        for k, v in tensors.items()
        if k.startswith("momentum.")
    }
    optimiser.load_state_dict(state)
    return int(tensors[STEP])
