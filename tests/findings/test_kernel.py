import numpy as np
import pytest

from learnscope.findings.kernel import kernel_turned_to_labels, label_in_components, regime

NAN = np.nan
LOOKED = np.array([True, True, False, True, False, True, False, True])


def known(*values):
    """Put five values where the kernel was looked at."""
    column = np.full(8, NAN)
    column[LOOKED] = values
    return column


def judged(make, value, change=0.4, gap=0.8, moved=0.3, output=2.0, layers=((0.0, 1.0))):
    data = make(
        kernel_trace=known(1, 1, 1, 1, 1),
        network_regime=known(NAN, 0, 0, 0, value),
        kernel_change=known(0, 0, 0, 0, change),
        kernel_distance=known(0, 0, 0, 0, change / 4),
        linearisation_gap=known(NAN, 0, 0, 0, gap),
        network_weight_distance=known(0, 0, 0, 0, moved),
        output_change=known(0, 0, 0, 0, output),
        layer_regime=(("step", "kernel_layer"), np.tile(layers, (8, 1))),
    )
    return data.assign_coords(kernel_layer=[f"l{k}" for k in range(len(layers))])


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "Training was lazy"), (1.0, "learned features of its own"), (0.5, "neither lazy nor clearly beyond")],
)
def test_the_regime_with_its_numbers_and_its_step(make, value, words):
    (finding,) = regime(judged(make, value))
    assert words in finding.sentence
    assert "by step 1,000 the tangent kernel had changed by 40%, the weights by 30%" in finding.sentence
    assert "off by 80% of the change of the outputs" in finding.sentence
    assert "l1 changed most, while l0 stayed lazy" in finding.sentence
    assert finding.evidence == {
        "kernel_change": 0.4, "kernel_distance": 0.1, "weight_distance": 0.3, "linearisation_gap": 0.8,
    }  # fmt: skip
    assert (finding.step, finding.figure) == (1000, "regime")


def test_layers_of_one_regime_are_not_named(make):
    (finding,) = regime(judged(make, 1.0, layers=(1.0, 1.0)))
    assert finding.sentence.endswith("outputs).")


def test_nothing_is_said_of_a_network_that_has_not_changed_or_is_unknown(make):
    assert regime(judged(make, 0.0, output=0.05)) == []
    assert regime(judged(make, 0.0, output=NAN)) == []
    assert regime(make(kernel_trace=known(1, NAN, NAN, NAN, NAN), network_regime=known(NAN, NAN, NAN, NAN, NAN))) == []
    assert regime(make(loss=np.ones(8))) == []


def aligned(make, centred, plain, change=0.5):
    return make(
        kernel_trace=known(1, 1, 1, 1, 1),
        kernel_change=known(0, 0, 0, 0, change),
        kernel_centred_alignment=known(centred[0], 0.3, 0.3, 0.3, centred[1]),
        kernel_alignment=known(plain[0], 0.3, 0.3, 0.3, plain[1]),
    )


def test_a_kernel_that_turns_towards_the_labels(make):
    (finding,) = kernel_turned_to_labels(aligned(make, (0.10, 0.16), (0.1, 0.2)))
    assert "turned towards the labels: their centred alignment went from 0.10 to 0.16 by step 1,000" in finding.sentence
    assert finding.figure == "kernel"


def test_a_kernel_that_turns_away(make):
    assert "away from" in kernel_turned_to_labels(aligned(make, (0.6, 0.4), (0.2, 0.1)))[0].sentence


@pytest.mark.parametrize(
    ("centred", "plain", "change"),
    [
        ((0.60, 0.65), (0.1, 0.2), 0.5),  # little
        ((0.1, 0.5), (0.2, 0.1), 0.5),  # the two disagree
        ((0.1, 0.5), (0.1, 0.2), 0.05),  # the kernel hardly moved
        ((NAN, NAN), (NAN, NAN), 0.5),
    ],
)
def test_weak_evidence_says_nothing(make, centred, plain, change):
    assert kernel_turned_to_labels(aligned(make, centred, plain, change)) == []


def shares(make, start, end):
    rows = np.full((8, 4), NAN)
    rows[LOOKED] = start
    rows[-1] = end
    return make(kernel_trace=known(1, 1, 1, 1, 1), label_share_cumulative=(("step", "kernel_component"), rows))


def test_how_many_components_hold_half_of_the_label(make):
    (finding,) = label_in_components(shares(make, [0.1, 0.2, 0.3, 0.5], [0.6, 0.7, 0.8, 0.9]))
    assert finding.sentence == (
        "Half of the label lies in the first component of the tangent kernel at step 1,000; at the start it took 4."
    )
    assert finding.evidence == {"share_in_4_components_at_start": 0.5, "share_in_4_components_at_end": 0.9}
    (finding,) = label_in_components(shares(make, [0.1, 0.2, 0.3, 0.4], [0.1, 0.7, 0.8, 0.9]))
    assert "in the first 2 components" in finding.sentence
    assert "it took more than 4" in finding.sentence
    (finding,) = label_in_components(shares(make, [0.1, 0.7, 0.8, 0.9], [0.1, 0.2, 0.3, 0.4]))
    assert "does not lie in the first 4 components" in finding.sentence


def test_the_same_number_or_none_says_nothing(make):
    assert label_in_components(shares(make, [0.1, 0.6, 0.7, 0.8], [0.2, 0.7, 0.8, 0.9])) == []
    assert label_in_components(shares(make, [0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4])) == []
    assert label_in_components(shares(make, [NAN] * 4, [0.1, 0.7, 0.8, 0.9])) == []
