import numpy as np
import pytest

from learnscope.findings.settling import layers_settle, order_of_settling, settling_steps

LAYERS = ["l1", "l2", "l3", "l4", "l5"]


def rising(starts, when):
    """Similarity to the final state: each layer jumps from its start to 1 at its own index."""
    return np.array([[1.0 if t >= at else start for start, at in zip(starts, when, strict=True)] for t in range(8)])


def test_layers_settle_where_similarity_stays_high(make):
    data = make(LAYERS, cka_to_final=(("step", "layer"), rising([0.3] * 5, [0, 2, 3, 5, 7])))
    assert settling_steps(data).values.tolist() == [0, 3, 10, 100, np.inf]
    sentences = [f.sentence for f in layers_settle(data)]
    assert sentences[0].startswith("3 layers settled between step 3 (l2) and step 100 (l4)")
    assert sentences[1].startswith("l1 was close to the final state from the start")
    assert sentences[2].startswith("l5 was still moving in the second half of training")


def test_a_layer_that_left_its_final_state_again_had_not_settled(make):
    similarity = rising([0.3] * 5, [1] * 5)
    similarity[5, 0] = 0.5
    data = make(LAYERS, cka_to_final=(("step", "layer"), similarity))
    assert settling_steps(data).values.tolist() == [316, 1, 1, 1, 1]


def test_unknown_similarity_is_not_called_moving(make):
    similarity = rising([0.3] * 5, [1] * 5)
    similarity[:, 2] = np.nan
    data = make(LAYERS, cka_to_final=(("step", "layer"), similarity))
    assert not any("l3" in f.sentence for f in layers_settle(data))


def test_few_measurements_say_nothing(make):
    data = make(LAYERS, cka_to_final=(("step", "layer"), rising([0.3] * 5, [1] * 5))).isel(step=slice(0, 5))
    assert layers_settle(data) == []
    assert order_of_settling(data) == []


def test_bottom_up_in_both_measures_has_no_caveat(make):
    similarity = np.ones((8, 5))
    similarity[0] = 0.3
    similarity[1:4] = [0.95, 0.9, 0.85, 0.7, 0.6]
    (finding,) = order_of_settling(make(LAYERS, cka_to_final=(("step", "layer"), similarity)))
    assert "from the input up" in finding.sentence
    assert "less far to go" not in finding.sentence
    assert finding.evidence["rank_correlation"] == pytest.approx(-1)


def test_bottom_up_that_is_only_a_head_start_says_so(make):
    similarity = np.ones((8, 5))
    similarity[0] = [0.9, 0.8, 0.7, 0.5, 0.2]
    similarity[1:4] = [0.91, 0.85, 0.8, 0.75, 0.7]
    (finding,) = order_of_settling(make(LAYERS, cka_to_final=(("step", "layer"), similarity)))
    assert "less far to go" in finding.sentence


def test_no_order_no_sentence(make):
    similarity = np.ones((8, 5))
    similarity[0:4] = [0.8, 0.7, 0.9, 0.7, 0.8]
    assert order_of_settling(make(LAYERS, cka_to_final=(("step", "layer"), similarity))) == []
