"""Machines that learn from any kernel: ridge regression, support vectors, nearest neighbours, principal components.

They see examples through a Gram matrix [n, n] and, for new examples, a matrix [m, n] of kernels with the n; whatever
kernel that is. Targets of an integer dtype are classes, two or more of them.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from learnscope.errors import InputError
from learnscope.kernels.gram import as_cross, as_gram, spectrum

RIDGES = torch.logspace(-8, 3, 12, dtype=torch.float64)  # to try, as multiples of the mean eigenvalue
HARD = 1e6  # penalty of a hard margin, for a kernel whose mean on the diagonal is 1
MOST_STEPS = 10**6  # of the support-vector solver


@dataclass(frozen=True, slots=True, eq=False)
class KernelRidge:
    """Kernel ridge regression, which minimises ‖f(X) − y‖² + ridge ‖f‖² in the space of the kernel.

    Attributes:
        coefficients: [n, outputs] α = (K + ridge)⁻¹ y; f(x) = Σ_i K(x, x_i) α_i. No intercept beyond the kernel's.
        ridge: the one that was chosen.
        ridges: [r] those that were tried.
        errors: [r] mean squared errors of leaving one example out, summed over outputs.
        left_out: [n, outputs] what is predicted for each example by the others at the chosen ridge.
        classes: the classes in the order of the outputs; None for a regression.
    """

    coefficients: Tensor
    ridge: float
    ridges: Tensor
    errors: Tensor
    left_out: Tensor
    classes: Tensor | None

    @classmethod
    def fit(cls, kernel: Tensor, y: Tensor, *, ridges: Tensor | None = None) -> KernelRidge:
        """Fit on a Gram matrix, with the ridge that predicts best when one example at a time is left out.

        Without example i the regression errs there by α_i / (K + ridge)⁻¹_ii, so that nothing is fitted again.

        Args:
            kernel: [n, n] Gram matrix, n ≥ 2.
            y: [n] or [n, outputs] real targets; or [n] integer classes, which become outputs 0 and 1, one a class.
            ridges: [r] ridges to try, 12 from 10⁻⁸ to 10³ times the mean eigenvalue by default. 0 is allowed where the
                kernel has full rank.

        Raises:
            InputError: for a kernel that is not a Gram matrix, targets that do not fit, a single class, or a ridge
                that is negative or 0 with a singular kernel.

        Cost: an eigendecomposition, and O(n² (outputs + r)) beyond.

        Source: Allen 1974 for the errors; Hastie, Tibshirani, Friedman 2009, section 7.10.

        Examples:
            >>> machine = KernelRidge.fit(torch.eye(2), torch.tensor([2.0, 4.0]), ridges=torch.tensor([1.0]))
            >>> machine.predict(torch.eye(2)).tolist(), machine.left_out.tolist()
            ([[1.0], [2.0]], [[0.0], [0.0]])
        """
        gram = as_gram(kernel)
        targets, classes = _as_targets(y, gram)
        values, vectors = spectrum(gram)
        tried = _as_ridges(ridges, values)
        modes, weights = vectors.mT @ targets, 1 / (values + tried[:, None])
        coefficients = vectors @ (weights[..., None] * modes)
        inverse = weights @ vectors.square().mT  # [r, n] the diagonal
        missed = coefficients / inverse[..., None]
        errors = missed.square().sum(-1).mean(-1)
        best = int(errors.argmin())
        return cls(coefficients[best], float(tried[best]), tried, errors, targets - missed[best], classes)

    def predict(self, kernel: Tensor) -> Tensor:
        """Return f [m, outputs] for new examples, from their kernels [m, n] with those of the fit."""
        return as_cross(kernel, len(self.coefficients)).to(self.coefficients) @ self.coefficients

    def classify(self, kernel: Tensor) -> Tensor:
        """Return the class [m] of the largest output for new examples.

        Raises:
            InputError: after a regression.
        """
        if self.classes is None:
            raise InputError("the ridge regression was fitted on real targets: fit it on integers to classify.")
        return self.classes[self.predict(kernel).argmax(1)]


@dataclass(frozen=True, slots=True, eq=False)
class KernelSupportVectorClassifier:
    """A support-vector classifier; more than two classes by a vote between all pairs of them.

    Attributes:
        support: indices of the examples that hold the margin.
        classes: the classes, ascending.
        converged: whether the solver came to its end, and with a hard margin, that it separates the examples.
    """

    support: Tensor
    classes: Tensor
    converged: bool
    _machine: Any
    _scale: float

    @classmethod
    def fit(cls, kernel: Tensor, y: Tensor, *, penalty: float = math.inf) -> KernelSupportVectorClassifier:
        """Fit on a Gram matrix.

        Args:
            kernel: [n, n] Gram matrix.
            y: [n] integer classes.
            penalty: C of the soft margin, ½ ‖f‖² + C Σ (1 − y f)₊, for the kernel divided by the mean of its diagonal,
                so that it hangs on no scale. Infinite is the hard margin, in fact C = 10⁶.

        Raises:
            InputError: for a kernel that is not a Gram matrix, classes that do not fit, a single class, or a penalty
                that is not positive.

        Cost: between O(n²) and O(n³) for each pair of classes, bounded; the kernel is copied in float64.

        Source: Cortes, Vapnik 1995; solved by LIBSVM through scikit-learn.

        Examples:
            >>> x = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
            >>> machine = KernelSupportVectorClassifier.fit(x @ x.T, torch.tensor([0, 0, 1, 1]))
            >>> machine.support.tolist(), machine.predict(torch.tensor([[0.1], [-5.0]]) @ x.T).tolist()
            ([1, 2], [1, 0])
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import SVC

        gram = as_gram(kernel)
        classes, labels = _as_classes(y, gram)
        if not penalty > 0:
            raise InputError(f"penalty is {penalty:g}: it is positive, or infinite for a hard margin.")
        scale = max(float(gram.diagonal().mean()), torch.finfo(gram.dtype).tiny)
        machine = SVC(kernel="precomputed", C=min(penalty, HARD), max_iter=MOST_STEPS)
        scaled = (gram.double() / scale).cpu().numpy()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            machine.fit(scaled, labels.cpu().numpy())
        ended = not any(issubclass(each.category, ConvergenceWarning) for each in caught)
        right = bool((machine.predict(scaled) == labels.cpu().numpy()).all())
        support = torch.as_tensor(machine.support_, dtype=torch.int64, device=gram.device).sort().values
        return cls(support, classes, ended and (right or penalty < HARD), machine, scale)

    def predict(self, kernel: Tensor) -> Tensor:
        """Return the class [m] of new examples, from their kernels [m, n] with those of the fit."""
        cross = as_cross(kernel, self._machine.shape_fit_[0]).double() / self._scale
        found = torch.as_tensor(self._machine.predict(cross.cpu().numpy()), device=self.classes.device)
        return self.classes[found]


@dataclass(frozen=True, slots=True, eq=False)
class KernelNearestNeighbours:
    """A vote of the nearest examples in the metric of a kernel, d²(x, x') = K(x, x) + K(x', x') − 2 K(x, x').

    Attributes:
        labels: [n] the place of each example's class in ``classes``.
        classes: the classes, ascending.
        squares: [n] K(x_i, x_i).
        k: number of votes.
    """

    labels: Tensor
    classes: Tensor
    squares: Tensor
    k: int

    @classmethod
    def fit(cls, kernel: Tensor, y: Tensor, *, k: int = 5) -> KernelNearestNeighbours:
        """Keep what the vote needs of a Gram matrix [n, n] and integer classes [n].

        Raises:
            InputError: for a kernel that is not a Gram matrix, classes that do not fit, a single class, or k outside
                1 ... n.

        Examples:
            >>> x = torch.tensor([[0.0], [1.0], [10.0]])
            >>> machine = KernelNearestNeighbours.fit(x @ x.T, torch.tensor([0, 0, 1]), k=1)
            >>> machine.predict(torch.tensor([[7.0], [0.4]]) @ x.T).tolist()
            [1, 0]
        """
        gram = as_gram(kernel)
        classes, labels = _as_classes(y, gram)
        if not 1 <= k <= len(gram):
            raise InputError(f"k is {k}, but there are {len(gram)} examples: ask for 1 to {len(gram)} neighbours.")
        return cls(labels, classes, gram.diagonal().clone(), k)

    def predict(self, kernel: Tensor) -> Tensor:
        """Return the class [m] of new examples, from their kernels [m, n] with those of the fit.

        Ties go to the nearest of the tied, equal distances to the first example. K(x, x) of a new example moves all its
        distances alike, so it is not needed.

        Cost: O(m n log n) time, two [m, n] matrices of memory.
        """
        distances = self.squares - 2 * as_cross(kernel, len(self.labels)).to(self.squares)
        nearest = distances.argsort(stable=True, dim=1)[:, : self.k]
        voters = self.labels[nearest]
        votes = (voters[:, :, None] == voters[:, None, :]).sum(-1)
        return self.classes[voters.gather(1, votes.argmax(1, keepdim=True)).squeeze(1)]


def _as_ridges(ridges: Tensor | None, values: Tensor) -> Tensor:
    """Return the ridges to try for a kernel with these eigenvalues."""
    if ridges is None:
        mean = values.mean()
        return RIDGES.to(values) * torch.where(mean > 0, mean, 1.0)
    tried = ridges.to(values)
    if tried.ndim != 1 or not len(tried) or not bool((torch.isfinite(tried) & (tried >= 0)).all()):
        raise InputError(f"ridges are {ridges.tolist()}: give one or more numbers from 0 on, [r].")
    if not bool((values.min() + tried > 0).all()):
        raise InputError(
            f"a ridge of 0 leaves a kernel of rank {int((values > 0).sum())} with {len(values)} examples singular: "
            "give positive ridges."
        )
    return tried


def _as_targets(y: Tensor, gram: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return real targets [n, outputs], and the classes if they stand for such."""
    if y.ndim == 1 and not y.is_floating_point():
        classes, labels = _as_classes(y, gram)
        return one_hot(labels).to(gram), classes
    if y.ndim not in (1, 2) or len(y) != len(gram):
        raise InputError(f"targets have the shape {list(y.shape)}: give [{len(gram)}] or [{len(gram)}, outputs].")
    if bad := int((~torch.isfinite(y)).sum()):
        raise InputError(f"{bad} targets are NaN or infinite: leave these examples out.")
    return y.to(gram).reshape(len(gram), -1), None


def _as_classes(y: Tensor, gram: Tensor) -> tuple[Tensor, Tensor]:
    """Return the classes, ascending, and the place of each example's class among them, [n]."""
    if y.shape != (len(gram),) or y.is_floating_point():
        raise InputError(f"classes are {y.dtype} of shape {list(y.shape)}: give integers [{len(gram)}].")
    classes, labels = torch.unique(y.to(gram.device), return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"all examples are of class {int(classes[0])}: a classifier needs two or more classes.")
    return classes, labels
