import numpy as np
import pytest

from learnscope.findings.health import dead_layers, exploding_or_vanishing, never_moved, not_finite, not_measured

LAYERS = ["l1", "l2", "l3"]
DIMS = ("step", "layer")


def test_first_layer_and_step_with_nan_are_named(make):
    share = np.zeros((8, 3))
    share[4:, 1:] = [0.25, 1.0]
    (finding,) = not_finite(make(LAYERS, nonfinite_share=(DIMS, share)))
    assert finding.sentence.startswith("Activations of l2 were NaN or infinite at step 32 (25% of them)")
    assert not_finite(make(LAYERS, nonfinite_share=(DIMS, np.zeros((8, 3))))) == []


def test_layers_with_half_of_their_units_dead_are_named(make):
    dead = np.tile([0.49, 0.5, 1.0], (8, 1))
    (finding,) = dead_layers(make(LAYERS, dead_share=(DIMS, dead)))
    assert "l2 (50%) and l3 (100%)" in finding.sentence
    assert dead_layers(make(LAYERS, dead_share=(DIMS, np.zeros((8, 3))))) == []


@pytest.mark.parametrize(
    ("end", "word"), [([1, 1, 101], "exploded during training: l3"), ([1, 0.009, 1], "vanished during training: l2")]
)
def test_a_hundredfold_change_of_size_through_training_is_named(make, end, word):
    rms = np.ones((8, 3))
    rms[-1] = end
    (finding,) = exploding_or_vanishing(make(LAYERS, activation_rms=(DIMS, rms)))
    assert word in finding.sentence


def test_a_signal_lost_along_the_depth_is_named(make):
    rms = np.tile([1, 0.2, 0.03, 0.005], (8, 1))
    (finding,) = exploding_or_vanishing(make([*LAYERS, "l4"], activation_rms=(DIMS, rms)))
    assert "vanished compared with the first layer, at the first measurement: l4" in finding.sentence


def test_a_single_layer_that_rescales_its_input_is_no_lost_signal(make):
    rms = np.tile([150, 1, 1, 0.9], (8, 1))
    assert exploding_or_vanishing(make([*LAYERS, "l4"], activation_rms=(DIMS, rms))) == []


def test_ordinary_sizes_say_nothing(make):
    rms = np.tile([1, 30, 0.05], (8, 1))
    assert exploding_or_vanishing(make(LAYERS, activation_rms=(DIMS, rms))) == []


def weights(make, distance, norm):
    names = [f"w{k}" for k in range(len(distance))]
    dims = ("step", "parameter")
    tile = lambda row: (dims, np.tile(row, (8, 1)))  # noqa: E731
    return make(weight_distance=tile(distance), weight_norm=tile(norm)).assign_coords(parameter=names)


def test_weights_that_stayed_are_named_with_biases_that_stayed_zero(make):
    (finding,) = never_moved(weights(make, [0.5, 0.0, np.nan, np.inf], [1, 1, 0, 2]))
    assert finding.sentence.startswith("w1 and w2 never moved")
    assert never_moved(weights(make, [0.5, 1e-3], [1, 1])) == []


def test_when_nothing_moved_that_is_what_is_said(make):
    (finding,) = never_moved(weights(make, [0.0, 0.0], [1, 1]))
    assert finding.sentence.startswith("None of the weights moved")


def test_what_could_not_be_measured_is_named(make):
    (finding,) = not_measured(make(attrs={"failures": {"spectra": "step 3: ValueError: x"}}))
    assert (finding.kind, finding.sentence) == (
        "warning",
        "spectra could not be measured everywhere: step 3: ValueError: x.",
    )
