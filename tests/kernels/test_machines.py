import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.kernel_ridge import KernelRidge as TheirRidge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from learnscope.errors import InputError
from learnscope.kernels import KernelNearestNeighbours, KernelRidge, KernelSupportVectorClassifier


def rbf(a, b):
    return torch.exp(-torch.cdist(a, b).square() / 4)


@pytest.fixture
def data(generator):
    """Return 40 examples for training, 20 for testing, and integer classes of both that are not 0, 1, 2."""
    y = torch.tensor([-3, 4, 9])[torch.randint(0, 3, (60,), generator=generator)]
    x = torch.randn(60, 2, generator=generator, dtype=torch.float64)
    x[:, 0] += y / 4
    return x[:40], x[40:], y[:40], y[40:]


# ridge regression


@pytest.mark.parametrize("ridge", [1e-3, 1.0])
def test_ridge_regression_is_that_of_scikit_learn(data, ridge):
    x, x_test, _, _ = data
    y = torch.stack([x.sin().sum(1), x.square().sum(1)], 1)
    ours = KernelRidge.fit(rbf(x, x), y, ridges=torch.tensor([ridge]))
    theirs = TheirRidge(alpha=ridge, kernel="precomputed").fit(rbf(x, x).numpy(), y.numpy())
    torch.testing.assert_close(ours.predict(rbf(x_test, x)), torch.from_numpy(theirs.predict(rbf(x_test, x).numpy())))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(2, 9), outputs=st.integers(1, 3), ridge=st.floats(1e-3, 10))
def test_left_out_predictions_are_those_of_the_machine_that_never_saw_the_example(seed, n, outputs, ridge):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    y = torch.randn(n, outputs, generator=generator, dtype=torch.float64)
    kernel, ridges = rbf(x, x), torch.tensor([ridge], dtype=torch.float64)
    ours = KernelRidge.fit(kernel, y, ridges=ridges)
    for i in range(n):
        others = torch.arange(n) != i
        without = KernelRidge.fit(kernel[others][:, others], y[others], ridges=ridges)
        torch.testing.assert_close(ours.left_out[i], without.predict(kernel[i : i + 1, others])[0])
    torch.testing.assert_close(ours.errors[0], (ours.left_out - y).square().sum(1).mean())


def test_the_ridge_with_the_least_error_is_chosen(data):
    x, _, _, _ = data
    noise = torch.randn(40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = KernelRidge.fit(rbf(x, x), x[:, 0] + noise)
    one_by_one = [KernelRidge.fit(rbf(x, x), x[:, 0] + noise, ridges=r[None]).errors[0] for r in found.ridges]
    torch.testing.assert_close(found.errors, torch.stack(one_by_one))
    assert found.ridge == float(found.ridges[found.errors.argmin()])
    assert float(found.ridges[0]) < found.ridge < float(found.ridges[-1])


def test_ridges_by_default_go_with_the_scale_of_the_kernel(data):
    x, x_test, y, _ = data
    small, large = (KernelRidge.fit(scale * rbf(x, x), y) for scale in (1.0, 1e6))
    assert large.ridge == pytest.approx(1e6 * small.ridge)
    torch.testing.assert_close(large.predict(1e6 * rbf(x_test, x)), small.predict(rbf(x_test, x)))


def test_classes_are_told_by_the_largest_of_their_outputs(data):
    x, x_test, y, y_test = data
    machine = KernelRidge.fit(rbf(x, x), y)
    assert machine.classes.tolist() == [-3, 4, 9]
    one_hot = (y[:, None] == torch.tensor([-3, 4, 9])).double()
    regression = KernelRidge.fit(rbf(x, x), one_hot)
    outputs = regression.predict(rbf(x_test, x))
    torch.testing.assert_close(machine.predict(rbf(x_test, x)), outputs)
    assert torch.equal(machine.classify(rbf(x_test, x)), torch.tensor([-3, 4, 9])[outputs.argmax(1)])
    assert float((machine.classify(rbf(x_test, x)) == y_test).double().mean()) > 0.6
    with pytest.raises(InputError, match="fitted on real targets"):
        regression.classify(rbf(x_test, x))


def test_a_singular_kernel_takes_a_positive_ridge_only(data):
    x, _, _, _ = data
    y = x[:, 0]
    with pytest.raises(InputError, match="kernel of rank 2 with 40 examples singular"):
        KernelRidge.fit(x @ x.T, y, ridges=torch.tensor([0.0, 1.0]))
    assert torch.isfinite(KernelRidge.fit(x @ x.T, y).predict(x @ x.T)).all()
    exact = KernelRidge.fit(rbf(x, x) + 0.1 * torch.eye(40), y, ridges=torch.tensor([0.0]))
    torch.testing.assert_close(exact.predict(rbf(x, x) + 0.1 * torch.eye(40))[:, 0], y)


def test_a_kernel_of_zeros_predicts_zero():
    machine = KernelRidge.fit(torch.zeros(3, 3), torch.tensor([1.0, 2.0, 3.0]))
    assert not machine.predict(torch.zeros(2, 3)).any()


# support vectors


def margin_by_quadratic_programme(kernel, signs):
    """Return the dual variables of the hard margin, by another solver."""
    q = (kernel * torch.outer(signs, signs)).numpy()
    found = minimize(
        lambda a: a @ q @ a / 2 - a.sum(),
        np.full(len(q), 0.1),
        jac=lambda a: q @ a - 1,
        bounds=[(0, None)] * len(q),
        constraints=[{"type": "eq", "fun": lambda a: a @ signs.numpy(), "jac": lambda a: signs.numpy()}],
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert found.success
    return torch.from_numpy(found.x)


def test_a_hard_margin_is_that_of_the_quadratic_programme(generator):
    x = torch.randn(16, 2, generator=generator, dtype=torch.float64)
    y = (x[:, 0] * x[:, 1] > 0).long()
    kernel, signs = rbf(x, x), 2.0 * y.double() - 1
    alpha = margin_by_quadratic_programme(kernel, signs)
    machine = KernelSupportVectorClassifier.fit(100 * kernel, y)  # no scale matters
    assert machine.converged
    assert machine.support.tolist() == torch.nonzero(alpha > 1e-4)[:, 0].tolist()
    x_test = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    bias = (signs - kernel @ (alpha * signs))[alpha > 1e-4].mean()
    decision = rbf(x_test, x) @ (alpha * signs) + bias
    clear = decision.abs() > 1e-2  # LIBSVM stops at a precision of 1e-3
    assert torch.equal(machine.predict(100 * rbf(x_test, x))[clear], (decision > 0).long()[clear])


@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_a_soft_margin_of_many_classes_is_that_of_the_linear_machine(data, penalty):
    x, x_test, y, _ = data
    kernel = x @ x.T
    theirs = SVC(kernel="linear", C=penalty / float(kernel.diagonal().mean())).fit(x.numpy(), y.numpy())
    ours = KernelSupportVectorClassifier.fit(kernel, y, penalty=penalty)
    assert ours.converged
    assert ours.support.tolist() == sorted(theirs.support_.tolist())
    assert ours.predict(x_test @ x.T).tolist() == theirs.predict(x_test.numpy()).tolist()


def test_examples_that_no_margin_separates_are_said_not_to_converge():
    x = torch.tensor([[1.0], [1.0], [2.0], [-1.0]])
    y = torch.tensor([0, 1, 0, 1])
    assert not KernelSupportVectorClassifier.fit(x @ x.T, y).converged
    assert KernelSupportVectorClassifier.fit(x @ x.T, y, penalty=1.0).converged


def test_a_penalty_is_positive(data):
    x, _, y, _ = data
    with pytest.raises(InputError, match="penalty is 0"):
        KernelSupportVectorClassifier.fit(x @ x.T, y, penalty=0.0)


# nearest neighbours


@pytest.mark.parametrize("k", [1, 5, 40])
def test_neighbours_in_the_kernels_metric_vote_as_in_feature_space(data, k):
    """x·x' is the kernel of the inputs themselves; ties, which scikit-learn gives to the first class, are left out."""
    x, x_test, y, _ = data
    ours = KernelNearestNeighbours.fit(x @ x.T, y, k=k).predict(x_test @ x.T)
    theirs = KNeighborsClassifier(k).fit(x.numpy(), y.numpy())
    shares = torch.from_numpy(theirs.predict_proba(x_test.numpy())).sort(dim=1).values
    clear = shares[:, -1] > shares[:, -2]
    assert clear.sum() > 10
    assert ours[clear].tolist() == theirs.predict(x_test.numpy())[clear].tolist()


def test_neighbours_of_a_curved_kernel_are_those_of_the_definition(data):
    x, x_test, y, _ = data
    kernel, cross = rbf(x, x) * (1 + x @ x.T), rbf(x_test, x) * (1 + x_test @ x.T)
    own = 1 + x_test.square().sum(1)
    squares = own[:, None] + kernel.diagonal() - 2 * cross
    truth = y[squares.argmin(1)]
    assert torch.equal(KernelNearestNeighbours.fit(kernel, y, k=1).predict(cross), truth)


def test_ties_go_to_the_nearest():
    x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    machine = KernelNearestNeighbours.fit(x @ x.T, torch.tensor([7, 7, 5, 5]), k=4)
    assert machine.predict(torch.tensor([[1.4], [1.6]]) @ x.T).tolist() == [7, 5]


@pytest.mark.parametrize("k", [0, 41])
def test_a_number_of_neighbours_out_of_range_is_refused(data, k):
    x, _, y, _ = data
    with pytest.raises(InputError, match=f"k is {k}, but there are 40 examples"):
        KernelNearestNeighbours.fit(x @ x.T, y, k=k)


# all of them


@pytest.mark.parametrize("machine", [KernelRidge, KernelSupportVectorClassifier, KernelNearestNeighbours])
def test_wrong_arguments_are_one_sentence(data, machine):
    x, x_test, y, _ = data
    with pytest.raises(InputError, match="all examples are of class 3"):
        machine.fit(x @ x.T, torch.full((40,), 3))
    with pytest.raises(InputError, match=r"give .*\[40\]"):
        machine.fit(x @ x.T, y[:39])
    with pytest.raises(InputError, match="NaN"):
        machine.fit(x @ x.T * torch.nan, y)
    with pytest.raises(InputError, match="not symmetric"):
        machine.fit((x @ x.T).triu(), y)
    with pytest.raises(InputError, match=r"give \[new ones, 40\]"):
        machine.fit(x @ x.T, y).predict(x_test @ x[:39].T)


def test_wrong_targets_and_ridges_are_one_sentence(data):
    x, _, y, _ = data
    with pytest.raises(InputError, match="1 targets are NaN or infinite"):
        KernelRidge.fit(x @ x.T, torch.where(torch.arange(40) == 3, torch.nan, x[:, 0]))
    with pytest.raises(InputError, match=r"targets have the shape \[40, 1, 1\]"):
        KernelRidge.fit(x @ x.T, x[:, :1, None])
    for ridges in (torch.tensor([-1.0]), torch.tensor([]), torch.tensor(1.0), torch.tensor([torch.inf])):
        with pytest.raises(InputError, match="give one or more numbers from 0 on"):
            KernelRidge.fit(x @ x.T, y, ridges=ridges)
    for machine in (KernelSupportVectorClassifier, KernelNearestNeighbours):
        with pytest.raises(InputError, match=r"classes are torch.float64 of shape \[40\]"):
            machine.fit(x @ x.T, x[:, 0])
