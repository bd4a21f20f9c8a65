from pathlib import Path

import pytest

from learnscope.errors import InputError
from learnscope.laboratory import load, names, prepare, run
from learnscope.laboratory.listing import catalogue, resolved

PAGE = Path(__file__).parents[2] / "docs" / "writing-an-experiment.md"


@pytest.fixture
def page_code():
    return PAGE.read_text().split("```python\n")[1].split("```")[0]


@pytest.fixture
def own(tmp_path, monkeypatch, page_code):
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "root_n.py").write_text(page_code)
    monkeypatch.setenv("LEARNSCOPE_EXPERIMENTS", str(folder))
    return folder / "root_n.py"


def test_the_code_of_the_documentations_page_runs_as_it_stands(own, tmp_path, page_code):
    assert len(page_code.splitlines()) <= 60
    finished = run(str(own), store=str(tmp_path / "runs"), workers=0)
    assert finished.sound
    assert finished.verdicts[0].verdict == "reproduced"
    assert "How the error falls" in Path(finished.report()).read_text()


def test_a_new_file_is_found_by_itself(own):
    assert "root-n" in names()
    assert load("root-n").title == load(str(own)).title == "The mean of n"


def test_folders_of_what_experiments_share_are_none_themselves():
    assert "spectral-bias" in names()
    assert "shared" not in names()


def test_an_unknown_experiment_gives_the_nearest_names(own):
    with pytest.raises(InputError, match=r"there is no experiment 'rot-n': did you mean 'root-n'"):
        load("rot-n")


def test_a_file_that_is_not_there_or_holds_no_experiment_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        load(str(tmp_path / "absent.py"))
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(InputError, match="defines no EXPERIMENT"):
        load(str(tmp_path / "empty.py"))


def test_an_unknown_scale_or_setting_is_refused(own):
    with pytest.raises(InputError, match="scale 'papr' is not known: choose one of quick, paper"):
        prepare("root-n", scale="papr")
    with pytest.raises(InputError, match="no setting 'repetition': did you mean 'repetitions'"):
        prepare("root-n", changes={"repetition": 3})


def test_names_of_claims_stand_for_the_experiments_that_judge_them(own, tmp_path):
    assert [experiment.name for experiment in resolved(["root-n"])] == ["root-n"]
    with pytest.raises(InputError, match="no experiment or claim 'rootn'"):
        resolved(["rootn"])


def test_the_catalogue_knows_the_last_verdicts(own, tmp_path):
    (row,) = [row for row in catalogue(str(tmp_path)) if row["name"] == "root-n"]
    assert row["claims"][0]["status"] == "not run"
    run("root-n", store=str(tmp_path), workers=0)
    (row,) = [row for row in catalogue(str(tmp_path)) if row["name"] == "root-n"]
    assert row["claims"][0]["status"] == "reproduced"


@pytest.mark.parametrize("name", [name for name in names() if not name.startswith("root")])
def test_every_shipped_experiment_is_named_like_its_file_and_ready_for_both_scales(name):
    experiment = load(name)
    assert experiment.name == name
    assert experiment.at_scale("quick") == experiment.settings()
    assert experiment.at_scale("paper") != experiment.settings()
    assert experiment.claims
    assert all(criterion.reason for claim in experiment.claims for criterion in claim.criteria)


def test_a_file_that_does_not_run_is_one_sentence(tmp_path):
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(InputError, match=r"broken.py' cannot be loaded \(ModuleNotFoundError"):
        load(str(tmp_path / "broken.py"))


def test_an_edited_file_is_loaded_anew(tmp_path, page_code):
    file = tmp_path / "mine.py"
    file.write_text(page_code)
    assert load(str(file)).title == "The mean of n"
    file.write_text(page_code.replace("The mean of n", "Another title"))
    assert load(str(file)).title == "Another title"
