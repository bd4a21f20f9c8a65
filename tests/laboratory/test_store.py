import json
import sys

import pytest

from learnscope.errors import InputError, StoreError
from learnscope.laboratory import open_run, prepare, run
from learnscope.laboratory.store import Folder, claim_folder


@pytest.fixture(params=["disk", "memory"])
def folder(request, tmp_path, memory_store):
    return Folder(str(tmp_path / "run") if request.param == "disk" else f"{memory_store}/run")


def test_what_is_written_is_read(folder):
    folder.write("points/a.safetensors", b"content")
    assert folder.read("points/a.safetensors") == b"content"
    assert folder.exists("points/a.safetensors")
    assert folder.read("points/b.safetensors") is None


def test_a_file_is_replaced_as_a_whole(folder):
    folder.write("a.json", b"first")
    folder.write("a.json", b"second")
    assert folder.read("a.json") == b"second"
    assert folder.names("", ".partial") == set()


def test_only_finished_files_are_listed(folder):
    folder.write("points/a.safetensors", b"1")
    folder.write("points/.b.safetensors.12.partial", b"2")
    folder.write("points/notes.txt", b"3")
    assert folder.names("points", ".safetensors") == {"a.safetensors"}
    assert folder.names("nowhere", ".safetensors") == set()


def test_many_files_are_read_together(folder):
    for name in "abc":
        folder.write(f"points/{name}", name.encode())
    assert folder.read_all("points", ["a", "c"]) == {"a": b"a", "c": b"c"}
    assert folder.read_all("points", []) == {}


def test_removing_what_is_not_there_is_no_error(folder):
    folder.write("a", b"1")
    folder.remove("a")
    folder.remove("a")
    assert not folder.exists("a")


def test_a_folder_belongs_to_the_settings_that_first_used_it(folder):
    claim_folder(folder, "demo", {"dim": 3})
    claim_folder(folder, "demo", {"dim": 3, "added_later": 1})
    with pytest.raises(StoreError, match="holds results of 'demo' with dim = 3 instead of 4"):
        claim_folder(folder, "demo", {"dim": 4})
    with pytest.raises(StoreError, match="'demo' another experiment"):
        claim_folder(folder, "other", {"dim": 3})


def test_damaged_settings_are_named(folder):
    folder.write("settings.json", b"{")
    with pytest.raises(StoreError, match=r"settings.json in .* is damaged"):
        claim_folder(folder, "demo", {})


def test_a_store_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot be written to .*: free some space or choose another --store"):
        Folder(str(tmp_path / "file" / "run")).write("a", b"1")


def test_an_unknown_protocol_is_one_sentence():
    with pytest.raises(StoreError, match="nosuch"):
        Folder("nosuch://x").read("a")


def test_a_store_in_memory_works_without_workers(experiment, memory_store):
    finished = run(experiment, store=memory_store, workers=0)
    assert finished.data["mean"].shape == (2, 5)
    assert finished.report().startswith("memory://")
    assert finished.folder.read_json("claims.json")["claims"][0]["verdict"] == "reproduced"


def test_a_store_in_memory_is_refused_for_workers(experiment, memory_store):
    with pytest.raises(InputError, match="workers=0, or a store on a disk"):
        run(experiment, store=memory_store, workers=2)


def test_what_exists_is_never_computed_again(variant, tmp_path):
    calls = []

    def counted(point, generator):
        calls.append((point.shift, generator.initial_seed()))
        return variant().simulate(point, generator)

    experiment = variant(simulate=counted)
    run(experiment, store=str(tmp_path), seeds=2, workers=0)
    run(experiment, store=str(tmp_path), seeds=2, workers=0)
    assert len(calls) == 4
    finished = run(experiment, store=str(tmp_path), seeds=3, workers=0)
    assert len(calls) == len(set(calls)) == 6
    assert finished.data.sizes["seed"] == 3


def test_a_point_that_raises_is_recorded_and_the_others_go_on(variant, tmp_path):
    def fails_without_shift(point, generator):
        if not point.shift:
            raise ValueError("no shift, no result")
        return variant().simulate(point, generator)

    finished = run(variant(simulate=fails_without_shift), store=str(tmp_path), seeds=3, workers=0)
    assert len(finished.stored) == len(finished.failures) == 3
    assert finished.failures[0].message == "ValueError: no shift, no result"
    assert "fails_without_shift" in finished.failures[0].traceback
    assert not finished.sound
    assert (finished.data["point_status"].sel(shift=0.0) == 3).all()
    assert finished.verdicts[0].verdict == "inconclusive"

    repaired = run(variant(), store=str(tmp_path), seeds=3, workers=0)
    assert repaired.failures == ()
    assert repaired.sound
    assert not list(tmp_path.rglob("failures/*"))


def test_points_that_are_not_finite_are_told_with_a_count(variant, with_nan, tmp_path):
    finished = run(variant(simulate=with_nan), store=str(tmp_path), seeds=10, workers=0)
    bad = int((finished.data["point_status"] == 2).sum())
    assert any(note.startswith(f"{bad} of 20 points are not finite (in mean)") for note in finished.notes)


def test_a_run_opens_from_its_folder(tmp_path, monkeypatch):
    file = tmp_path / "experiments" / "mine.py"
    file.parent.mkdir()
    page = __import__("pathlib").Path(__file__).parents[2] / "docs" / "writing-an-experiment.md"
    file.write_text(page.read_text().split("```python\n")[1].split("```")[0].replace('"root-n", "The', '"mine", "The'))
    monkeypatch.setenv("LEARNSCOPE_EXPERIMENTS", str(file.parent))
    first = run("mine", changes={"repetitions": 5}, seeds=[2, 4], store=str(tmp_path / "runs"), workers=0)
    again = open_run(first.folder.url)
    assert again.seeds == (2, 4)
    assert again.settings == first.settings
    assert again.data.equals(first.data)


def test_a_folder_without_a_run_is_one_sentence(tmp_path):
    with pytest.raises(StoreError, match="holds no run of an experiment"):
        open_run(str(tmp_path))


def test_results_of_other_code_are_pointed_out(experiment, tmp_path, monkeypatch):
    run(experiment, store=str(tmp_path), workers=0)
    monkeypatch.setattr(sys.modules["learnscope.laboratory.run"], "code_of", lambda _: "another")
    assert "computed by another version of the experiment's file" in prepare(experiment, store=str(tmp_path)).notes[0]


@pytest.mark.parametrize("seeds", [0, -1, [], [1, 1], [-1, 2]])
def test_impossible_seeds_are_refused(experiment, seeds, tmp_path):
    with pytest.raises(InputError, match="seeds cannot be"):
        prepare(experiment, seeds=seeds, store=str(tmp_path))


def test_provenance_tells_what_computed_the_points(experiment, tmp_path):
    run(experiment, store=str(tmp_path), seeds=1, workers=0)
    run(experiment, store=str(tmp_path), seeds=1, workers=0)  # computes nothing, adds nothing
    (file,) = tmp_path.rglob("provenance.json")
    (session,) = json.loads(file.read_text())["sessions"]
    assert session["points"] == 2
    assert {"python", "torch", "numpy", "learnscope"} <= session["versions"].keys()
