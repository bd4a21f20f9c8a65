"""What of a network's tangent kernel is wanted: which parameters, grouped how, and which of its outputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn

from learnscope.errors import InputError, LeftOutWarning, nearest_names

Outputs = str | int | Callable[[Tensor], Tensor]
NAMED = 10  # in a warning
Selected = str | Sequence[str] | Callable[[str, nn.Parameter], bool] | None


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters that a kernel is made of.

    Attributes:
        names: those in the kernel, each tensor once, by its first name.
        left_out: those that were selected but do not require gradients.
    """

    names: tuple[str, ...]
    left_out: tuple[str, ...]

    def layer_of(self, name: str) -> str:
        """Return the name of the module that holds a parameter; "" for one of the model itself."""
        return name.rpartition(".")[0]


def selected_parameters(model: nn.Module, parameters: Selected = None) -> Parameters:
    """Return the parameters that a tangent kernel is made of.

    Args:
        model: the network.
        parameters: names or patterns such as "features.*", a predicate of (name, parameter), or None for all.

    Raises:
        InputError: if a name or pattern matches nothing (with the nearest names), or nothing is left.

    Examples:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        >>> selected_parameters(model, "1.*").names
        ('1.weight', '1.bias')
    """
    every = dict(model.named_parameters())
    if parameters is None:
        chosen = list(every)
    elif callable(parameters):
        chosen = [name for name, parameter in every.items() if parameters(name, parameter)]
    else:
        patterns = [parameters] if isinstance(parameters, str) else list(parameters)
        for pattern in patterns:
            if not any(_matches(name, pattern) for name in every):
                raise InputError(f"no parameter is called {pattern!r}: did you mean {nearest_names(pattern, every)}?")
        chosen = [name for name in every if any(_matches(name, pattern) for pattern in patterns)]
    names = tuple(name for name in chosen if every[name].requires_grad)
    if not names:
        raise InputError("no parameter that requires gradients is selected: the tangent kernel would be zero.")
    return Parameters(names, tuple(name for name in chosen if not every[name].requires_grad))


def warn_of_left_out(parameters: Parameters) -> None:
    """Name those that were selected but do not require gradients, if there are any, in one warning."""
    left = parameters.left_out
    if left:
        more = f" and {len(left) - NAMED} more, which selected_parameters(model).left_out names" * (len(left) > NAMED)
        warnings.warn(
            f"left out of the tangent kernel, for they do not require gradients: {', '.join(left[:NAMED])}{more}",
            LeftOutWarning,
            stacklevel=4,
        )


@dataclass(frozen=True, slots=True)
class Readout:
    """Which scalars of each example the kernel is of.

    Attributes:
        outputs: "all", "trace", "sum", an index, or a function from outputs [n, outputs] to [n].
    """

    outputs: Outputs

    def __post_init__(self) -> None:
        if isinstance(self.outputs, str) and self.outputs not in ("all", "trace", "sum"):
            raise InputError(
                f"outputs={self.outputs!r} is not known: choose 'all', 'trace', 'sum', an index, or a function."
            )

    @property
    def full(self) -> bool:
        """Whether the kernel keeps both output dimensions."""
        return self.outputs == "all"

    def __call__(self, values: Tensor) -> Tensor:
        """Return the scalars [n, k] of outputs [n, ...].

        Raises:
            InputError: if the selection is out of range, or a function does not return one number an example.
        """
        n = len(values)
        flat = values.reshape(n, -1)
        if self.outputs in ("all", "trace"):
            return flat
        if self.outputs == "sum":
            return flat.sum(1, keepdim=True)
        if isinstance(self.outputs, int):
            if not -flat.shape[1] <= self.outputs < flat.shape[1]:
                raise InputError(f"outputs={self.outputs} is out of range: the model has {flat.shape[1]} outputs.")
            return flat[:, self.outputs, None]
        assert callable(self.outputs)
        scalars = self.outputs(values)
        if not isinstance(scalars, Tensor) or scalars.shape != (n,):
            shape = tuple(scalars.shape) if isinstance(scalars, Tensor) else type(scalars).__name__
            raise InputError(
                f"outputs= returned {shape} for {n} examples: it must return one number an example, [{n}]."
            )
        return scalars[:, None]


def evaluated(model: nn.Module, x: Tensor) -> Tensor:
    """Return the model's outputs, [n, ...].

    Raises:
        InputError: if they are not a tensor, or not one row an example, or integers were given that it does not take.
    """
    try:
        values = model(x.clone())  # some models write over their inputs
    except RuntimeError as error:
        if x.is_floating_point():
            raise
        raise InputError(
            f"the model does not take inputs of {x.dtype} ({error}): convert them with .float() unless they are tokens."
        ) from error
    if not isinstance(values, Tensor):
        raise InputError(
            f"the model returned a {type(values).__name__}: wrap it so that it returns one tensor of outputs."
        )
    if values.ndim == 0 or len(values) != len(x):
        raise InputError(
            f"the model returned {tuple(values.shape)} for {len(x)} examples: it must return a row for each."
        )
    return values


def spread(n: int, most: int) -> list[int]:
    """Return the places of up to ``most`` of n examples, from the first to the last.

    Examples:
        >>> spread(10, 4), spread(3, 4)
        ([0, 3, 6, 9], [0, 1, 2])
    """
    return sorted({k * (n - 1) // (most - 1) for k in range(most)})


def refuse_coupled(model: nn.Module) -> None:
    """Refuse a model whose outputs are random, or hang on the other examples of a batch.

    Raises:
        InputError: naming the first such module.
    """
    for name, module in model.named_modules():
        random = isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0
        batch = isinstance(module, nn.modules.batchnorm._BatchNorm)
        attention = isinstance(module, nn.MultiheadAttention) and module.dropout > 0
        recurrent = isinstance(module, nn.RNNBase) and module.dropout > 0
        if module.training and (random or batch or attention or recurrent):
            kind = type(module).__name__
            raise InputError(
                f"module {name!r} ({kind}) is in training mode, where outputs are random or hang on the other examples "
                "of a batch, so there is no kernel of pairs: call model.eval() first."
            )


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or name.startswith(f"{pattern}.") or fnmatchcase(name, pattern)
