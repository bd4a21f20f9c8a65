import numpy as np

from learnscope.findings.dimension import dimension_by_depth, dimension_through_training

LAYERS = ["l1", "l2", "l3", "l4"]
NAME = "intrinsic_dimension_likelihood"


def dimensions(make, rows, error=0.2, converged=1.0):
    dims = ("step", "layer")
    same = lambda value: (dims, np.full(np.shape(rows), value))  # noqa: E731
    return make(
        LAYERS, **{NAME: (dims, rows), f"{NAME}_standard_error": same(error), f"{NAME}_converged": same(converged)}
    )


def test_estimates_that_have_not_converged_are_said_to_read_low(make):
    rows = np.tile([5, 9, 7, 3], (8, 1))
    assert "read low" in dimension_by_depth(dimensions(make, rows, converged=0.0))[0].sentence
    assert "read low" not in dimension_by_depth(dimensions(make, rows))[0].sentence


def test_a_peak_inside_the_network_and_its_fall(make):
    (finding,) = dimension_by_depth(dimensions(make, np.tile([5, 9, 7, 3], (8, 1))))
    assert "peaks at l2 (9.0 ± 0.2) and falls to 3.0 ± 0.2 at l4" in finding.sentence


def test_a_fall_from_the_first_layer_is_no_peak_inside(make):
    (finding,) = dimension_by_depth(dimensions(make, np.tile([9, 8, 7, 3], (8, 1))))
    assert "is largest near the input, at l1" in finding.sentence


def test_a_difference_within_the_error_says_nothing(make):
    assert dimension_by_depth(dimensions(make, np.tile([5, 9, 7, 3], (8, 1)), error=3.0)) == []
    assert dimension_by_depth(dimensions(make, np.tile([3, 5, 7, 9], (8, 1)))) == []


def test_unknown_layers_are_left_out(make):
    (finding,) = dimension_by_depth(dimensions(make, np.tile([5, 9, 3, np.nan], (8, 1))))
    assert "at l3" in finding.sentence


def test_compression_through_training(make):
    rows = np.linspace([8, 8, 8, 8], [8, 8, 4, 7], 8)
    (finding,) = dimension_through_training(dimensions(make, rows))
    assert finding.sentence == "Training compressed l3: its intrinsic dimension fell from 8.0 to 4.0."
    assert dimension_through_training(dimensions(make, np.tile([8, 8, 8, 8], (8, 1)))) == []


def test_what_was_not_looked_at_is_no_evidence_and_hides_none(make):
    rows = np.linspace([8, 9, 8, 8], [8, 9, 4, 7], 8)
    rows[[1, 2, 3, 4, 5, 7]] = np.nan
    data = dimensions(make, rows)
    data["distinct_examples"] = data[NAME] * 0 + 50
    (finding,) = dimension_through_training(data)
    assert "fell from 8.0 to 4.6" in finding.sentence
    assert finding.step == data["step"][6]
    assert dimension_by_depth(data)[0].step == data["step"][6]


def test_a_last_look_in_vain_says_nothing(make):
    rows = np.tile([5.0, 9, 7, 3], (8, 1))
    data = dimensions(make, rows)
    data["distinct_examples"] = data[NAME] * 0 + 50
    data[NAME][-1] = np.nan
    assert dimension_by_depth(data) == []
