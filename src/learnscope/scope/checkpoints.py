"""Reading checkpoints: paths, state dicts, or a function of the step. Nothing is unpickled."""

from __future__ import annotations

import itertools
import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from learnscope.errors import InputError, nearest_names

StateDict = Mapping[str, Tensor]
Checkpoint = str | Path | StateDict
Checkpoints = Checkpoint | Iterable[Checkpoint] | Callable[[int], StateDict]

WRAPPERS = ("_orig_mod.", "module.")  # what torch.compile and DistributedDataParallel put before names
CONTAINERS = ("state_dict", "model_state_dict", "model")


def step_of(path: str | Path) -> int:
    """Return the step in a checkpoint's name: the number after "step", "iter", "checkpoint" or "ckpt", or the only one.

    The file's name is read first, then that of its folder.

    Raises:
        InputError: if there is no number, or several without such a word.

    Examples:
        >>> step_of("run/model-epoch2-step0300.safetensors"), step_of("checkpoint-500/model.safetensors")
        (300, 500)
    """
    path = Path(path)
    for name in (path.name.removesuffix(path.suffix), path.parent.name):
        named = re.findall(r"(?:step|iter|iteration|checkpoint|ckpt)s?[-_=]?(\d+)", name, re.IGNORECASE)
        numbers = named or re.findall(r"\d+", name)
        if len(numbers) == 1:
            return int(numbers[0])
        if numbers:
            raise InputError(
                f"the name {path.name!r} holds several numbers ({', '.join(numbers)}): pass steps=[...] with one step "
                "for each checkpoint."
            )
    raise InputError(
        f"the name {path.name!r} holds no step number: pass steps=[...] with one step for each checkpoint."
    )


def in_order(checkpoints: Checkpoints, steps: Iterable[int] | None) -> list[tuple[int, Callable[[], StateDict]]]:
    """Return (step, load) for each checkpoint, by increasing step.

    Raises:
        InputError: if steps are missing, of another number, or not distinct, or if there are no checkpoints.
    """
    given = None if steps is None else [int(step) for step in steps]
    if callable(checkpoints):
        if given is None:
            raise InputError("checkpoints is a function, so the steps to call it with are needed: pass steps=[...].")
        pairs = [(step, _calling(checkpoints, step)) for step in given]
    else:
        items = _listed(checkpoints)
        numbers = [_step(item) for item in items] if given is None else given
        if len(numbers) != len(items):
            raise InputError(f"there are {len(items)} checkpoints but {len(numbers)} steps: give one step for each.")
        pairs = [(step, _loading(item)) for step, item in zip(numbers, items, strict=True)]
    if not pairs:
        raise InputError("there are no checkpoints: pass at least one path or state dict.")
    if min(step for step, _ in pairs) < 0:
        raise InputError("a step is negative: steps count from 0.")
    pairs.sort(key=lambda pair: pair[0])
    for (a, _), (b, _) in itertools.pairwise(pairs):
        if a == b:
            raise InputError(f"two checkpoints have step {a}: pass steps=[...] that are all different.")
    return pairs


def _listed(checkpoints: Checkpoint | Iterable[Checkpoint]) -> list[Checkpoint]:
    if isinstance(checkpoints, (str, Path)):
        return [checkpoints]
    if isinstance(checkpoints, Mapping):
        return [cast("StateDict", checkpoints)]
    return list(checkpoints)


def _step(item: Checkpoint) -> int:
    if isinstance(item, Mapping):
        raise InputError("state dicts carry no step: pass steps=[...] with one step for each.")
    return step_of(item)


def _calling(function: Callable[[int], StateDict], step: int) -> Callable[[], StateDict]:
    return lambda: function(step)


def _loading(item: Checkpoint) -> Callable[[], StateDict]:
    return lambda: item if isinstance(item, Mapping) else read_state(item)


def read_state(path: str | Path) -> StateDict:
    """Read a state dict from a safetensors file, or from a torch file with ``weights_only=True``.

    A file that holds the state dict under "state_dict", "model_state_dict" or "model" is understood.

    Raises:
        InputError: if there is no such file, or it holds anything but tensors, which would have to be unpickled.
    """
    path = Path(path)
    if not path.is_file():
        near = nearest_names(path.name, [p.name for p in path.parent.glob("*")]) if path.parent.is_dir() else ""
        hint = f"; nearby are {near}" if near else ""
        raise InputError(f"there is no checkpoint {str(path)!r}{hint}: check the path.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0].split(". ")[0] or "it is empty"
        raise InputError(
            f"{str(path)!r} cannot be read as plain tensors ({reason}): save the model's state_dict(), best as "
            "safetensors; files that would have to be unpickled are refused because they can run code."
        ) from error
    return _unwrapped_file(content, path)


def _read_safetensors(path: Path) -> StateDict:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{str(path)!r} is not a whole safetensors file ({error}): save or copy it again.") from error


def _unwrapped_file(content: Any, path: Path) -> StateDict:
    for name in CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(
            f"{str(path)!r} does not hold a state dict: save model.state_dict(), alone or under the key 'state_dict'."
        )
    return content


def load_into(model: nn.Module, state: StateDict, step: int) -> None:
    """Load a state dict into a model, after dropping the prefixes that compiling or data parallelism adds.

    Raises:
        InputError: if names or shapes do not fit, with the first of them.
    """
    known = set(model.state_dict())
    names = list(_stripped(state, known))
    missing, unknown = sorted(known - set(names) - _tied(model, set(names))), sorted(set(names) - known)
    if missing or unknown:
        what = f"lacks {missing[0]!r}" if missing else f"holds {unknown[0]!r}, which the model does not have"
        raise InputError(f"the checkpoint of step {step} {what}: pass the model that it was saved from.")
    try:
        model.load_state_dict(dict(zip(names, state.values(), strict=True)), strict=False)
    except RuntimeError as error:
        first = str(error).strip().split("\n")[-1].strip()
        raise InputError(f"the checkpoint of step {step} does not fit the model: {first}") from error


def _tied(model: nn.Module, given: set[str]) -> set[str]:
    """Return the names of tensors that share their memory with one that is given, and so need not be."""
    tensors = model.state_dict(keep_vars=True)
    memory = {tensors[name].data_ptr() for name in given & set(tensors)}
    return {name for name, value in tensors.items() if value.numel() and value.data_ptr() in memory}


def _stripped(state: StateDict, known: set[str]) -> Iterator[str]:
    for name in state:
        bare = name
        while bare not in known and bare.startswith(WRAPPERS):
            bare = bare.removeprefix(WRAPPERS[0]) if bare.startswith(WRAPPERS[0]) else bare.removeprefix(WRAPPERS[1])
        yield bare
