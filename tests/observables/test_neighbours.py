"""Nearest neighbours are exact, whatever the data."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.errors import BudgetError, InputError
from learnscope.observables import neighbours as module
from learnscope.observables import screening, sketches
from learnscope.observables.candidates import at_most
from learnscope.observables.neighbours import nearest_neighbours
from learnscope.observables.reference import neighbours as reference
from learnscope.randomness import generator
from learnscope.threads import one_after_another

random = generator("test neighbours")


def curve(n: int, d: int) -> torch.Tensor:
    """Points on a smooth surface of dimension 2 in d dimensions."""
    return torch.tanh(torch.rand(n, 2, generator=random) @ torch.randn(2, d, generator=random))


CASES = {
    "uniform": lambda: torch.rand(120, 5, generator=random),
    "surface": lambda: curve(120, 40),
    "float64": lambda: curve(120, 6).double(),
    "huge offset": lambda: curve(120, 8) + 1e3,
    "huge offset in float64": lambda: curve(120, 8).double() + 1e8,
    "tiny": lambda: curve(120, 8) * 1e-30,
    "one far away": lambda: torch.cat([curve(119, 8), torch.full((1, 8), 1e6)]),
    "float16": lambda: curve(120, 8).half(),
    "bfloat16": lambda: curve(120, 8).bfloat16(),
    "integers": lambda: torch.randint(0, 5, (120, 4), generator=random),
    "binary code with ties": lambda: torch.randint(0, 2, (120, 9), generator=random).bool(),
    "grid": lambda: torch.cartesian_prod(torch.arange(11.0), torch.arange(11.0)),
    "equidistant": lambda: torch.eye(40),
    "all rows equal": lambda: torch.full((60, 3), 0.1),
    "two distinct rows": lambda: torch.tensor([[0.1], [0.7]]).repeat(30, 3),
    "many duplicates": lambda: curve(30, 5)[torch.randint(0, 30, (120,), generator=random)],
    "negative zero": lambda: torch.tensor([[0.0], [-0.0], [1.0]]).repeat(20, 1),
    "constant features": lambda: torch.cat([curve(120, 3), torch.full((120, 2), 1e7)], dim=1),
    "fewer examples than features": lambda: torch.randn(12, 300, generator=random),
    "as few examples as can be": lambda: torch.randn(6, 2, generator=random),
}


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_full_matrix_of_distances(name, k):
    h = CASES[name]()
    found = nearest_neighbours(h, k)
    distances, indices = reference.nearest_neighbours(h, k)
    torch.testing.assert_close(found.distances, distances, rtol=1e-9, atol=0.0)
    assert torch.equal(found.indices, indices)
    assert found.distances.dtype == torch.float64


@pytest.mark.parametrize("name", ["surface", "binary code with ties", "many duplicates", "huge offset"])
def test_does_not_depend_on_the_tiles(name, monkeypatch):
    h = CASES[name]()
    whole = nearest_neighbours(h, 3)
    monkeypatch.setattr(module, "TILE", 7 * len(h))
    tiled = nearest_neighbours(h, 3)
    assert torch.equal(whole.distances, tiled.distances)
    assert torch.equal(whole.indices, tiled.indices)


def test_does_not_depend_on_the_budget():
    h = curve(200, 10)
    whole, frugal = nearest_neighbours(h, 3), nearest_neighbours(h, 3, budget=64 * 210)
    assert torch.equal(whole.distances, frugal.distances)
    assert torch.equal(whole.indices, frugal.indices)


@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 2**31), st.sampled_from([0.0, 0.5, -1000.25, 1e4]))
@settings(max_examples=40, deadline=None)
def test_any_small_data(n, d, seed, offset):
    h = torch.randint(-2, 3, (n, d), generator=torch.Generator().manual_seed(seed)) + offset
    k = max(1, n // 3)
    found = nearest_neighbours(h, k)
    distances, indices = reference.nearest_neighbours(h, k)
    torch.testing.assert_close(found.distances, distances, rtol=1e-9, atol=0.0)
    assert torch.equal(found.indices, indices)


@pytest.mark.parametrize("crowd", [1, 5, 60])
@pytest.mark.parametrize("gap", [1.0, 1e3])
def test_crowded_rows_are_found_again(crowd, gap, monkeypatch):
    """With a screening in float32 that leaves too many candidates, for some rows or all, the answer is still exact."""
    monkeypatch.setattr(module, "CROWD", crowd)
    h = curve(150, 20) * 1e-3 + gap * torch.tensor([[1.0], [-1.0]]).repeat(75, 20)
    found = nearest_neighbours(h, 4)
    distances, indices = reference.nearest_neighbours(h, 4)
    torch.testing.assert_close(found.distances, distances, rtol=1e-9, atol=0.0)
    assert torch.equal(found.indices, indices)


@pytest.mark.parametrize("scale", [2.0**600, 2.0**-600, 2.0**100])
def test_squares_neither_overflow_nor_vanish(scale):
    h = curve(120, 8).double()
    scaled, plain = nearest_neighbours(h * scale, 3), nearest_neighbours(h, 3)
    torch.testing.assert_close(scaled.distances / scale, plain.distances, rtol=1e-12, atol=0.0)
    assert torch.equal(scaled.indices, plain.indices)


@pytest.fixture(params=[2**24, 0], ids=["in steps", "compiled"])
def _loops(request, monkeypatch):
    monkeypatch.setattr(module, "COMPILED", request.param)


@pytest.mark.usefixtures("_loops")
@pytest.mark.parametrize("alone", [0, 1, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("noise", [0.0, 1e-3, 1.0])
def test_sketches_of_many_features_are_exact_too(noise, dtype, alone, monkeypatch):
    """From data that a sketch tells apart to data that it fails on, and whatever products of pairs cost."""
    monkeypatch.setattr(sketches, "TRIAL", 9)
    monkeypatch.setattr(sketches, "FEWEST", 128)
    monkeypatch.setattr(sketches, "ALONE", alone)
    h = curve(150, 400) + noise * torch.randn(150, 400, generator=random) + 3
    h = torch.cat([h, h[:3]]).to(dtype)
    found = nearest_neighbours(h, 4)
    distances, indices = reference.nearest_neighbours(h, 4)
    torch.testing.assert_close(found.distances, distances, rtol=1e-9, atol=0.0)
    assert torch.equal(found.indices, indices)


@pytest.mark.usefixtures("_loops")
@pytest.mark.parametrize("crowd", [0, 2, 40])
@pytest.mark.parametrize("k", [1, 7, 30])
def test_sketches_leave_crowded_rows_to_float64(k, crowd, monkeypatch):
    """Of near copies far from the origin float32 can tell none apart, and of the others all."""
    monkeypatch.setattr(sketches, "TRIAL", 9)
    monkeypatch.setattr(sketches, "FEWEST", 128)
    monkeypatch.setattr(module, "CROWD", crowd)
    near = 300 * torch.ones(40, 400) + 1e-3 * torch.randn(40, 400, generator=random)
    h = torch.cat([curve(260, 400), near, torch.zeros(1, 400)])
    found = nearest_neighbours(h, k)
    distances, indices = reference.nearest_neighbours(h, k)
    torch.testing.assert_close(found.distances, distances, rtol=1e-9, atol=0.0)
    assert torch.equal(found.indices, indices)


@pytest.mark.usefixtures("_loops")
@pytest.mark.parametrize("scale", [2.0**600, 2.0**-600])
def test_sketches_neither_overflow_nor_vanish(scale, monkeypatch):
    monkeypatch.setattr(sketches, "TRIAL", 9)
    monkeypatch.setattr(sketches, "FEWEST", 128)
    h = curve(290, 400).double()
    scaled, plain = nearest_neighbours(h * scale, 3), nearest_neighbours(h, 3)
    torch.testing.assert_close(scaled.distances / scale, plain.distances, rtol=1e-12, atol=0.0)
    assert torch.equal(scaled.indices, plain.indices)


@pytest.mark.parametrize("r", [16, 128])
def test_a_sketch_bounds_distances_from_below(r):
    x = torch.randn(150, 400, generator=random) * torch.logspace(0, -3, 400)
    exact = screening.screen(x)
    sketch = sketches.sketch(exact, sketches._projected(x, sketches.leading_directions(x), one_after_another)[:, :r])
    distances, lower = (torch.cdist(each.double(), each.double()).square() for each in (x, sketch.points))
    norms = x.double().norm(dim=1)
    assert (lower <= distances + sketch.slack * (norms + norms[:, None]).square()).all()
    assert float(lower.sum() / distances.sum()) > (0.9 if r == 128 else 0.3)


@given(st.integers(1, 200), st.integers(1, 20), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_thresholds_leave_at_least_k(n, k, seed):
    x = torch.randn(n + k, 3, generator=torch.Generator().manual_seed(seed))
    rows = torch.arange(0, n + k, 3)
    screen = screening.screen(x)
    tile = screening.half_distances(screening.laid_out(screen), rows, k)
    expected = (torch.cdist(x[rows].double(), x.double()).square() - x[rows].double().square().sum(1)[:, None]) / 2
    expected[torch.arange(len(rows)), rows] = torch.inf
    torch.testing.assert_close(tile.values[:, : n + k].double(), expected, rtol=1e-4, atol=1e-4)
    assert (tile.values[:, n + k :] == torch.inf).all()
    limit = tile.kth_smallest(k)
    assert torch.isfinite(limit).all()
    found = at_most(tile.values, limit)
    assert int(found.counts.min()) >= k
    assert len(found.examples) == int((tile.values <= limit[:, None]).sum())
    whole = tile.values[found.spread(torch.arange(len(rows))), found.examples]
    alone = screening.half_distances_of_pairs(screen, rows, found)
    torch.testing.assert_close(alone, whole, rtol=1e-4, atol=1e-4)
    few = tile.small_ones(k)
    assert all(len(set(row)) == k for row in few.tolist())
    assert torch.equal(tile.values.gather(1, few).amax(dim=1), limit)


def test_identical_rows_are_at_distance_exactly_zero():
    h = torch.rand(50, 30, generator=random).repeat(2, 1) + 1e3
    found = nearest_neighbours(h, 1)
    assert found.distances.abs().max() == 0
    assert torch.equal(found.indices.flatten(), (torch.arange(100) + 50) % 100)


def test_leaves_the_features_alone():
    h = torch.rand(30, 4, generator=random, requires_grad=True)
    before = h.detach().clone()
    found = nearest_neighbours(h, 2)
    assert torch.equal(h.detach(), before)
    assert not found.distances.requires_grad


@pytest.mark.parametrize(
    ("h", "k", "says"),
    [
        (torch.zeros(5, 2), 5, "at least 6 examples"),
        (torch.zeros(5, 2), 0, "k = 0"),
        (torch.zeros(5), 1, r"flatten\(1\)"),
        (torch.zeros(5, 2, 2), 1, r"flatten\(1\)"),
        (torch.tensor([[0.0], [torch.nan], [1.0]]), 1, "NaN"),
        (torch.tensor([[0.0], [torch.inf], [1.0]]), 1, "infinite"),
        (torch.zeros(5, 0), 1, "one feature"),
        (torch.zeros(5, 2, dtype=torch.complex64), 1, "real"),
    ],
)
def test_says_in_a_sentence_what_cannot_be_searched(h, k, says):
    with pytest.raises(InputError, match=says):
        nearest_neighbours(h, k)


def test_a_budget_for_not_even_one_row_is_refused():
    with pytest.raises(BudgetError, match="allow at least"):
        nearest_neighbours(torch.rand(100, 5), 1, budget=1000)


@pytest.mark.usefixtures("_three_threads")
@pytest.mark.usefixtures("_loops")
@pytest.mark.parametrize("d", [8, 400])
@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_several_threads_find_the_same_in_any_context(d, context):
    h = curve(700, d).requires_grad_()
    distances, indices = reference.nearest_neighbours(h.detach(), 3)
    with context():
        found = nearest_neighbours(h * 1.0, 3)
    torch.testing.assert_close(found.distances, distances, rtol=1e-9, atol=0.0)
    assert torch.equal(found.indices, indices)
    assert torch.get_num_threads() == 3
