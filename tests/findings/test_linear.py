import numpy as np
import pytest

from learnscope.findings.linear import linear_explains, linear_part_is_kept


@pytest.fixture
def information(make):
    def build(network, explained, simple=1.0, low=0.1, model="linear"):
        network, explained = np.array(network, float), np.array(explained, float)
        dims = ("step", "simple_model")
        return make(
            network_information=network,
            network_information_low=network - 0.02,
            network_information_converged=np.ones(8),
            explained_information=(dims, explained[:, None]),
            conditional_information=(dims, (network - explained)[:, None]),
            conditional_information_low=(dims, np.full((8, 1), low)),
            simple_information=(dims, np.full((8, 1), simple)),
        ).assign_coords(simple_model=[model])

    return build


def test_until_when_a_linear_model_explains_the_network(information):
    network = [0.0, 0.1, 0.4, 0.9, 1.2, 1.6, 1.9, 2.0]
    explained = [0.0, 0.0, 0.39, 0.85, 0.95, 1.0, 1.0, 1.0]
    (finding,) = linear_explains(information(network, explained))
    assert finding.sentence.startswith("Until step 10, a linear model explains at least 85%")
    assert "knows 2.00 bits, 1.00 of them beyond a linear model" in finding.sentence
    assert finding.step == 10


def test_to_the_end(information):
    network = [0, 0.1, 0.4, 0.9, 1.0, 1.0, 1.0, 1.0]
    (finding,) = linear_explains(information(network, network))
    assert "to the end of training" in finding.sentence


def test_never(information):
    network = [0, 0.1, 0.4, 0.9, 1.0, 1.0, 1.0, 1.0]
    (finding,) = linear_explains(information(network, np.zeros(8)))
    assert finding.sentence.startswith("A linear model never explained the network")


def test_what_lies_beyond_is_silent_where_its_interval_holds_zero(information):
    network = [0, 0.1, 0.4, 0.9, 1.0, 1.0, 1.0, 1.0]
    explained = [0, 0.1, 0.4, 0.9, 0.8, 0.8, 0.8, 0.8]
    (finding,) = linear_explains(information(network, explained, low=-0.01))
    assert "beyond" not in finding.sentence


def test_a_network_that_knows_nothing_says_nothing(information):
    assert linear_explains(information(np.full(8, 0.04), np.zeros(8), simple=0.0)) == []


def test_a_probe_too_small_for_its_classes_says_nothing(information):
    data = information(np.linspace(0, 1, 8), np.linspace(0, 1, 8))
    data["network_information_converged"][-1] = 0
    assert linear_explains(data) == []


def test_a_network_that_lost_what_it_knew_says_nothing(information):
    network = [0, 0.1, 0.4, 0.9, 1.0, 1.0, 0.0, 0.0]
    assert linear_explains(information(network, network)) == []


def test_missing_numbers_make_no_sentence(information):
    data = information(np.linspace(0, 2, 8), np.linspace(0, 1, 8))
    data["simple_information"][:] = np.nan
    assert linear_part_is_kept(data) == []


def test_a_negative_share_is_no_percentage(information):
    network = [0, 0.1, 0.4, 0.9, 1.0, 1.0, 1.0, 1.0]
    assert "accounts for 0%" in linear_explains(information(network, -np.ones(8)))[0].sentence


def test_another_simple_model_is_called_by_its_name(information):
    network = np.linspace(0, 1, 8)
    assert "the simpler model 'knn'" in linear_explains(information(network, network, model="knn"))[0].sentence.lower()


def test_the_linear_part_is_kept_while_more_is_learned(information):
    network = np.linspace(0, 2, 8)
    (finding,) = linear_part_is_kept(information(network, np.minimum(network, 0.95)))
    assert "0.95 of its 1.00 bits" in finding.sentence
    assert linear_part_is_kept(information(network, 0.3 * network)) == []
    assert linear_part_is_kept(information(0.5 * network, 0.5 * network)) == []
