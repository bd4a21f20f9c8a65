import numpy as np
import pytest
import xarray as xr

from learnscope.findings import find
from learnscope.findings.finding import Finding, listed
from learnscope.findings.progress import accuracy_reached, classes_learned_last, could_have_stopped


def test_accuracy_with_its_error(make):
    data = make(probe_loss=np.ones(8), probe_accuracy=np.full(8, 0.9), probe_accuracy_standard_error=np.full(8, 0.01))
    (finding,) = accuracy_reached(data)
    assert finding.sentence == "After 1,000 steps the network answers 90.0% ± 1.0% of the probe correctly."


def test_regression_speaks_of_the_loss(make):
    (finding,) = accuracy_reached(make(probe_loss=np.linspace(8, 1, 8)))
    assert "went from 8 to 1 in 1,000 steps" in finding.sentence


def times(make, values, names=None):
    data = make(attrs={"class_names": names} if names else None, probe_loss=np.ones(8))
    return data.assign(class_learning_time=("class", np.array(values, float)))


def test_late_and_never_learned_classes_are_named(make):
    (finding,) = classes_learned_last(times(make, [10, 10, 32, np.inf], ["cat", "dog", "emu", "fox"]))
    assert "Learned last: emu (step 32)" in finding.sentence
    assert "Not learned for good (90% correct to the end): fox" in finding.sentence


@pytest.mark.parametrize("values", [[10, 10, 10], [np.inf] * 3, [10, 100]])
def test_nothing_to_say_of_classes_learned_together_or_never_or_of_two(make, values):
    assert classes_learned_last(times(make, values)) == []


def progress(make, accuracy, loss, error=0.01):
    return make(
        probe_accuracy=accuracy,
        probe_accuracy_standard_error=np.full(8, error),
        probe_loss=loss,
        probe_loss_standard_error=np.full(8, error),
    )


def test_training_could_have_stopped_when_accuracy_is_within_an_error_of_its_best(make):
    accuracy = [0.1, 0.2, 0.5, 0.8, 0.895, 0.9, 0.9, 0.897]
    findings = could_have_stopped(progress(make, accuracy, np.linspace(2, 0.1, 8)))
    assert [f.step for f in findings] == [32]
    assert "step 32 of 1,000" in findings[0].sentence


def test_improving_to_the_end_says_nothing(make):
    assert could_have_stopped(progress(make, np.linspace(0.1, 0.9, 8), np.linspace(2, 0.1, 8))) == []


def test_rising_loss_is_named_beyond_its_error(make):
    loss = [2, 1, 0.5, 0.2, 0.2, 0.3, 0.4, 0.5]
    findings = could_have_stopped(progress(make, np.linspace(0.1, 0.9, 8), loss))
    assert "was least at step 10 (0.2) and rose to 0.5" in findings[0].sentence
    unsure = could_have_stopped(progress(make, np.linspace(0.1, 0.9, 8), loss, error=0.2))
    assert not any("rose" in finding.sentence for finding in unsure)


def test_nan_loss_says_nothing_about_stopping(make):
    assert could_have_stopped(progress(make, np.full(8, 0.5), np.full(8, np.nan))) == []


def test_an_empty_record_has_no_findings():
    assert find(xr.Dataset(coords={"step": np.array([], dtype=int)})) == []


def test_a_finding_reads_as_its_sentence():
    assert str(Finding("rule", "A sentence.")) == "A sentence."
    assert listed([]) == ""


def test_a_collapse_is_not_called_confidence(make):
    loss = [2, 1, 0.5, 0.2, 0.2, 0.3, 0.4, 0.5]
    kept = could_have_stopped(progress(make, [0.1, 0.5, 0.7, 0.8, 0.8, 0.8, 0.8, 0.8], loss))
    assert any("more confident about its mistakes" in f.sentence for f in kept)
    fell = could_have_stopped(progress(make, [0.1, 0.5, 0.7, 0.8, 0.8, 0.6, 0.5, 0.4], loss))
    assert any("rose to 0.5." in f.sentence for f in fell)
    assert not any("confident" in f.sentence for f in fell)
