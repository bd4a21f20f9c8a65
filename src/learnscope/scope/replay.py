"""The record of a training run from its checkpoints, after the fact."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from learnscope.errors import StoreError
from learnscope.observables.observable import Observable, Task
from learnscope.observables.simple_models import Classifier
from learnscope.scope.checkpoints import Checkpoints, in_order, load_into
from learnscope.scope.discovery import Selection
from learnscope.scope.isolation import held, original_module
from learnscope.scope.probe import Predict
from learnscope.scope.record import Record
from learnscope.scope.recorder import Recorder
from learnscope.scope.setup import DEFAULT_BUDGET, prepare
from learnscope.scope.store import Store


def replay(
    model: nn.Module,
    checkpoints: Checkpoints,
    probe: Any,
    train: Any = None,
    observables: Sequence[Observable] | None = None,
    *,
    steps: Iterable[int] | None = None,
    store: str | Path | None = None,
    layers: Selection = None,
    budget: int | None = None,
    predict: Predict | None = None,
    positions: str = "mean",
    simple_models: Mapping[str, Classifier | Tensor] | None = None,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    task: Task | None = None,
    progress: bool = False,
) -> Record:
    """Measure a list of checkpoints; the record is the one that a live scope makes at the same steps.

    The first checkpoint counts as the initial state, from which movement is measured. The model is copied, so the
    caller's is left as it is.

    Args:
        model: the module that the checkpoints belong to.
        checkpoints: paths (safetensors, or torch files that hold tensors only), state dicts, or a function that
            returns the state dict of a step.
        probe: see :class:`learnscope.Scope`, as for all further arguments.
        train: (x, y) on which simpler models are fitted.
        observables: what to measure.
        steps: one step for each checkpoint; by default read from the file names.
        store: folder of the record; checkpoints whose steps are on record already are not measured again.
        layers: which layers to watch.
        budget: bytes for activations at any one time.
        predict: how outputs are computed, for models that do not return a tensor.
        positions: "mean" or "flatten".
        simple_models: simpler models to compare with.
        class_names: names of the classes.
        seed: seed of the bootstrap resamples.
        task: "classification" or "regression", for real labels of zeros and ones.
        progress: show a progress bar with an estimate of the time left.

    Raises:
        InputError: if a checkpoint cannot be read or does not fit the model.
        StoreError: if the store belongs to another run.

    Examples:
        >>> import torch
        >>> x, y = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
        >>> model = nn.Linear(3, 2)
        >>> states = [model.state_dict(), {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}]
        >>> replay(nn.Sequential(model)[0:1], [{f"0.{k}": v for k, v in s.items()} for s in states], (x, y),
        ...        steps=[0, 50]).data["step"].values.tolist()
        [0, 50]
    """
    copied = _copied(original_module(model))
    ordered = in_order(checkpoints, steps)
    load_into(copied, ordered[0][1](), ordered[0][0])
    setup = prepare(
        copied,
        probe,
        train=train,
        observables=observables,
        layers=layers,
        budget=DEFAULT_BUDGET if budget is None else budget,
        predict=predict,
        positions=positions,
        simple_models=simple_models,
        class_names=class_names,
        seed=seed,
        task=task,
    )
    kept = Store.in_memory() if store is None else Store.at(store)
    try:
        recorded = setup.attach(kept)
        recorder = Recorder(setup.watched, setup.observables, kept, setup.initial_parameters)
        waiting = [(step, load) for step, load in ordered if recorded is None or step > recorded]
        for step, load in _shown(waiting, progress):
            load_into(copied, load(), step)
            recorder.measure(step, {}, final=step == ordered[-1][0])
            if "store" in recorder.failures:
                raise StoreError(recorder.failures["store"])
    finally:
        kept.release()
    return Record(kept)


def _copied(model: nn.Module) -> nn.Module:
    """Copy a model, also one that keeps results of its last forward pass, which torch does not copy."""
    results = (tensor for tensor in held(model, Tensor) if not tensor.is_leaf)
    return copy.deepcopy(model, {id(tensor): tensor.detach().clone() for tensor in results})


def _shown(waiting: list[Any], progress: bool) -> Iterable[Any]:
    if not progress:
        return waiting
    from rich.progress import track

    return track(waiting, description="Measuring checkpoints")
