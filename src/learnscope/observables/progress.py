"""Progress: loss, accuracy and error on the probe, and which examples are answered correctly."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor

from learnscope.estimate import sample_mean
from learnscope.observables.observable import Need, State, Task, estimate_variables, variable


def predicted_classes(outputs: Tensor) -> Tensor:
    """Return the hard predictions argmax_k f_k(x); for a single logit, class 1 iff f(x) > 0.

    Args:
        outputs: [..., n, outputs], any floating dtype. NaN outputs predict -1, which no label equals.

    Returns:
        [..., n] int64.

    Examples:
        >>> predicted_classes(torch.tensor([[0.1, 2.0], [1.0, -1.0]])).tolist()
        [1, 0]
    """
    if outputs.shape[-1] == 1:
        classes = (outputs[..., 0] > 0).long()
    else:
        classes = outputs.argmax(-1)
    return classes.masked_fill(outputs.isnan().any(-1), -1)


def example_losses(outputs: Tensor, y: Tensor, task: Task) -> Tensor:
    """Return the loss of each example, without any averaging.

    - classes, several outputs: cross-entropy -log softmax(f(x))_y, in nats;
    - classes, one output: logistic loss log(1 + exp(-(2y - 1) f(x))), in nats;
    - real targets: squared error ‖f(x) - y‖² / outputs.

    Args:
        outputs: [n, outputs].
        y: [n] integers, or [n, outputs] real targets.
        task: "classification" or "regression".

    Returns:
        [n], float64.

    Examples:
        >>> example_losses(torch.zeros(1, 4), torch.tensor([2]), "classification").exp()
        tensor([4.0000], dtype=torch.float64)
    """
    outputs = outputs.double()
    if task == "regression":
        return (outputs - y.double().reshape(outputs.shape)).square().mean(-1)
    if outputs.shape[-1] == 1:
        return F.softplus(-(2 * y.double() - 1) * outputs[:, 0])
    return F.cross_entropy(outputs, y, reduction="none")


class Progress:
    """Loss on the probe and, for classes, accuracy, error and the correctness of every example."""

    name = "progress"
    needs: frozenset[Need] = frozenset({"outputs"})

    def applies_to(self, task: Task | None) -> bool:
        """Return whether there are labels."""
        return task is not None

    def measure(self, state: State) -> xr.Dataset:
        """Measure on the whole probe."""
        task = state.task or "regression"
        losses = example_losses(state.outputs, state.y, task)
        units = "nats" if task == "classification" else "squared target units"
        variables = estimate_variables("probe_loss", sample_mean(losses), long_name="loss on the probe", units=units)
        if task == "classification":
            correct = predicted_classes(state.outputs) == state.y
            accuracy = sample_mean(correct)
            variables |= estimate_variables(
                "probe_accuracy", accuracy, long_name="share of probe examples answered correctly"
            )
            variables["probe_error"] = variable(
                1 - accuracy.value, long_name="share of probe examples answered wrongly"
            )
            variables["correct"] = variable(
                correct.to(torch.int8), ["example"], long_name="whether the example is answered correctly"
            )
        return xr.Dataset(variables)
