"""Training a small network on real images under the scope."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from learnscope.demo import checkpoint
from learnscope.demo.interruption import interruptible
from learnscope.demo.recipe import Recipe, check_names, recipe_for
from learnscope.distributions.images import Images, load_images
from learnscope.networks.catalogue import build
from learnscope.randomness import generator
from learnscope.scope.record import Record
from learnscope.scope.record import open as open_record
from learnscope.scope.scope import Scope
from learnscope.scope.store import exists
from learnscope.threads import limited_to


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a demonstration run came to.

    Attributes:
        record: what the scope recorded.
        step: the step that was reached.
        steps: the steps that the recipe asks for.
        images: the data.
    """

    record: Record
    step: int
    steps: int
    images: Images

    @property
    def finished(self) -> bool:
        """Whether training went to its end; False after Ctrl-C."""
        return self.step == self.steps


Watcher = Callable[[int, int, float], None]


def run(
    folder: Path, data: str = "digits", network: str = "cnn", seed: int = 0, watch: Watcher = lambda *_: None
) -> Outcome:
    """Train a network on images under the scope; take up a run that was interrupted.

    The order of the images, the initial weights and everything else come from generators derived from ``seed``, so a
    run that was interrupted and taken up gives the same numbers as one that was not.

    Args:
        folder: where the record and the checkpoint go.
        data: "digits", "mnist", "fashion_mnist" or "cifar10".
        network: "cnn", "mlp" or "resnet".
        seed: seed of the weights and of the order of the images.
        watch: called after each step with the step, the number of steps and the training loss.

    Raises:
        InputError: if there is no such data set or network.
        StoreError: if the folder holds another run, or another process records there.
    """
    check_names(data, network)
    with limited_to(_threads()):
        return _run(folder, data, network, seed, watch)


def _threads() -> int:
    """Return half of the threads that torch may use, unless the user chose how many.

    Where another process takes a core, each step of a small network would wait for the thread without one: beside one
    busy process two threads on two cores took twenty times as long as one.
    """
    available = torch.get_num_threads()
    return available if "OMP_NUM_THREADS" in os.environ else max(1, available // 2)


def _run(folder: Path, data: str, network: str, seed: int, watch: Watcher) -> Outcome:
    recipe, images = recipe_for(data), load_images(data)
    _, channels, height, width = images.x_train.shape
    weights = generator("demo", "weights", seed)
    model = build(network, (channels, height, width), len(images.classes), weights)
    optimiser = torch.optim.SGD(model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum)
    probe = (images.x_test[: recipe.probe_examples], images.y_test[: recipe.probe_examples])
    steps_per_epoch = math.ceil(len(images.x_train) / recipe.batch_size)
    steps = recipe.epochs * steps_per_epoch
    name = f"{network} on {images.name}, seed {seed}"
    step = begun = checkpoint.load(folder, name, model, optimiser)
    if begun == steps and _is_whole(folder, steps):
        return Outcome(open_record(folder), steps, steps, images)
    scope = Scope(
        model,
        probe,
        train=(images.x_train, images.y_train),
        store=folder,
        start=begun,
        class_names=images.classes,
    )
    try:
        with interruptible() as interrupted:
            for step, batch in _batches(recipe, len(images.x_train), seed, first=begun):
                loss = _train_step(model, optimiser, images, batch, _learning_rate(recipe, step, steps))
                scope.step(loss=loss, learning_rate=optimiser.param_groups[0]["lr"])
                watch(step, steps, float(loss.detach()))
                if interrupted() or step % steps_per_epoch == 0:
                    checkpoint.save(folder, name, step, model, optimiser)
                if interrupted():
                    break
    except BaseException:
        scope.close(measure=False)
        raise
    scope.close(measure=step == steps)
    return Outcome(scope.record, step, steps, images)


def _is_whole(folder: Path, steps: int) -> bool:
    return exists(folder) and steps in open_record(folder).store.steps()


def _batches(recipe: Recipe, n: int, seed: int, first: int) -> Iterator[tuple[int, Tensor]]:
    """Yield (step, indices) from the step after ``first`` on, each epoch in an order of its own."""
    step = 0
    for epoch in range(recipe.epochs):
        order = torch.randperm(n, generator=generator("demo", "order", seed, epoch))
        for batch in order.split(recipe.batch_size):
            step += 1
            if step > first:
                yield step, batch


def _learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))


def _train_step(
    model: torch.nn.Module, optimiser: torch.optim.SGD, images: Images, batch: Tensor, learning_rate: float
) -> Tensor:
    for group in optimiser.param_groups:
        group["lr"] = learning_rate
    loss = F.cross_entropy(model(images.x_train[batch]), images.y_train[batch])
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss
