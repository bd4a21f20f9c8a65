import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.errors import InputError
from learnscope.observables.information import entropy, explained_information
from learnscope.observables.reference import information as reference

labels = st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=2, max_size=40)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=60))
def test_entropy_equals_its_definition(values):
    counts = torch.bincount(torch.tensor(values))
    assert float(entropy(counts, jackknife=False)) == pytest.approx(reference.entropy(values), abs=1e-12)
    assert float(entropy(counts)) == pytest.approx(reference.jackknifed_entropy(values), abs=1e-9)


def test_entropy_works_on_a_batch_of_tables_with_different_totals():
    tables = torch.tensor([[4, 4, 0, 0], [3, 3, 3, 3]])
    assert entropy(tables, jackknife=False).tolist() == pytest.approx([1.0, 2.0])


@settings(max_examples=30, deadline=None)
@given(labels)
def test_informations_equal_the_jackknife_of_their_definitions(triples):
    f, l, y = (list(column) for column in zip(*triples, strict=True))  # noqa: E741
    result = explained_information(torch.tensor(f), torch.tensor(l), torch.tensor(y))
    h = reference.jackknifed_entropy
    fy, fl, ly = (list(zip(*p, strict=True)) for p in ((f, y), (f, l), (l, y)))
    conditional = h(fl) + h(ly) - h(triples) - h(l)
    assert float(result.conditional) == pytest.approx(conditional, abs=1e-9)
    assert float(result.network) == pytest.approx(h(f) + h(y) - h(fy), abs=1e-9)
    assert float(result.simple) == pytest.approx(h(l) + h(y) - h(ly), abs=1e-9)
    assert float(result.explained) == pytest.approx(float(result.network) - conditional, abs=1e-9)


def test_without_correction_the_parts_are_the_conditional_information():
    rng = np.random.default_rng(0)
    f, l, y = rng.integers(0, 3, (3, 200))  # noqa: E741
    cells = list(zip(f, l, y, strict=True))
    h = reference.entropy
    direct = reference.conditional_information(f.tolist(), y.tolist(), l.tolist())
    pieces = h(list(zip(f, l, strict=True))) + h(list(zip(l, y, strict=True))) - h(cells) - h(l.tolist())
    assert direct == pytest.approx(pieces, abs=1e-12)


def _sample(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ten classes; network and simple model err independently, on 10 % and 20 % of the examples."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 10, n)

    def erring(share: float) -> np.ndarray:
        return np.where(rng.random(n) < share, (y + rng.integers(1, 10, n)) % 10, y)

    return tuple(torch.from_numpy(a) for a in (erring(0.1), erring(0.2), y))  # pyright: ignore[reportReturnType]


def _channel(error: float) -> float:
    """I(F;Y) of ten balanced classes of which a share is mistaken for each of the nine others alike."""
    return math.log2(10) + (1 - error) * math.log2(1 - error) + error * math.log2(error / 9)


def test_jackknife_removes_most_of_the_bias():
    corrected, plug_in = [], []
    for seed in range(20):
        f, l, y = _sample(500, seed)  # noqa: E741
        corrected.append(float(explained_information(f, l, y).network))
        h = reference.entropy
        plug_in.append(h(f.tolist()) + h(y.tolist()) - h(list(zip(f.tolist(), y.tolist(), strict=True))))
    truth = _channel(0.1)
    assert abs(np.mean(corrected) - truth) < 0.5 * abs(np.mean(plug_in) - truth)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    truth = _channel(0.1)
    hits = 0
    for seed in range(60):
        low, high = explained_information(*_sample(2000, 100 + seed)).network.interval()
        hits += bool(low <= truth <= high)
    assert hits >= 51  # 57 expected; fewer than 51 of 60 at 95 % has probability below 1 %


def test_an_independent_model_explains_nothing():
    f, _, y = _sample(4000, 0)
    noise = torch.randint(0, 10, (4000,), generator=torch.Generator().manual_seed(1))
    result = explained_information(f, noise, y)
    assert abs(float(result.simple)) < 0.05
    assert abs(float(result.explained)) < 0.3 * float(result.network)


def test_a_network_that_copies_the_simple_model_knows_nothing_more():
    _, l, y = _sample(1000, 0)  # noqa: E741
    result = explained_information(l, l, y)
    assert float(result.conditional) == pytest.approx(0, abs=1e-9)
    assert float(result.explained) == pytest.approx(float(result.simple))


def test_too_few_examples_for_the_table_say_so():
    f = torch.arange(60) % 10
    y = (torch.arange(60) * 7) % 10
    l = (torch.arange(60) // 6) % 10  # noqa: E741
    result = explained_information(f, l, y)
    assert result.coverage < 0.9
    assert not bool(result.conditional.converged)
    assert "use more examples" in result.conditional.notes[0]


def test_same_generator_same_interval():
    data = _sample(300, 3)
    a, b = (explained_information(*data, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert [float(v) for v in a.network.interval()] == [float(v) for v in b.network.interval()]


def test_one_class_only_carries_no_information():
    zeros = torch.zeros(50, dtype=torch.int64)
    assert float(explained_information(zeros, zeros, zeros).network) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("lengths", [(3, 3, 4), (0, 0, 0)])
def test_unequal_or_empty_inputs_are_refused(lengths):
    with pytest.raises(InputError, match="must be equal and not zero"):
        explained_information(*(torch.zeros(n, dtype=torch.int64) for n in lengths))
