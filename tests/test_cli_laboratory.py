import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from learnscope import cli

PAGE = Path(__file__).parents[1] / "docs" / "writing-an-experiment.md"
runner = CliRunner(env={"COLUMNS": "160", "NO_COLOR": "1"})


@pytest.fixture
def own(tmp_path, monkeypatch):
    folder = tmp_path / "experiments"
    folder.mkdir()
    code = PAGE.read_text().split("```python\n")[1].split("```")[0]
    (folder / "root_n.py").write_text(code)
    (folder / "never_true.py").write_text(
        code.replace('"root-n"', '"never-true"').replace("predicted=-0.5", "predicted=-2.0")
    )
    (folder / "raises.py").write_text(
        code.replace('"root-n"', '"raises"').replace("normal = torch", "assert point.n_train < 50\n    normal = torch")
    )
    monkeypatch.setenv("LEARNSCOPE_EXPERIMENTS", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def learnscope(*arguments, store=True):
    return runner.invoke(cli.app, [*arguments, *(("--workers", "0", "--seeds", "4") if store else ())])


def error(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["learnscope", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    return capsys.readouterr().err


def test_help_teaches_by_example():
    for command in ("list", "run", "verify", "report"):
        output = runner.invoke(cli.app, [command, "--help"]).output
        assert f"learnscope {command}" in output
        assert "Example" in output


def test_run_prints_the_verdicts_and_writes_the_report(own, tmp_path):
    result = learnscope("run", "root-n", "--set", "repetitions=300", "--set", "n_train=10,1000")
    assert result.exit_code == 0
    assert "1 claims: 1 reproduced." in result.output
    (report,) = (tmp_path / "runs" / "root-n").rglob("report.html")
    assert "root-n" in report.read_text()
    settings = json.loads((report.parent / "settings.json").read_text())["settings"]
    assert settings == {"n_train": [10, 1000], "repetitions": 300}


def test_report_draws_again_from_what_is_stored(own, tmp_path):
    learnscope("run", "root-n")
    (report,) = (tmp_path / "runs" / "root-n").rglob("report.html")
    report.unlink()
    assert learnscope("report", str(report.parent), store=False).exit_code == 0
    assert report.exists()
    assert learnscope("report", str(report.parent), "--output", "page.html", store=False).exit_code == 0
    assert Path("page.html").exists()


def test_verify_has_exit_status_one_if_a_claim_is_not_reproduced(own):
    assert learnscope("verify", "root-n").exit_code == 0
    result = learnscope("verify", "root-n", "never-true")
    assert result.exit_code == 1
    assert "2 claims: 1 reproduced, 1 not reproduced." in result.output


def test_verify_prints_json(own):
    result = runner.invoke(cli.app, ["verify", "root-n", "--json", "--workers", "0", "--seeds", "4"])
    (claim,) = json.loads(result.stdout)["root-n"]["claims"]
    assert claim["verdict"] == "reproduced"
    (criterion,) = claim["criteria"]
    low, high = criterion["interval"]
    assert criterion["band"][0] <= low <= criterion["measured"] <= high <= criterion["band"][1]
    assert criterion["control"]["fails"] is True


def test_a_point_that_raises_is_shown_with_its_traceback_and_exit_status_one(own):
    result = learnscope("run", "raises")
    assert result.exit_code == 1
    assert "AssertionError" in result.output
    assert "8 of 12 points are missing (8 of them raised)" in result.output


def test_list_shows_claims_sources_and_verdicts(own):
    learnscope("verify", "root-n")
    result = learnscope("list", store=False)
    line = next(line for line in result.output.splitlines() if line.strip().startswith("root-n"))
    assert "reproduced" in line
    assert "Gauss 1809" in line
    rows = {row["name"]: row for row in json.loads(learnscope("list", "--json", store=False).output)}
    assert rows["never-true"]["claims"][0]["status"] == "not run"


def test_wrong_names_and_values_are_one_sentence(own, monkeypatch, capsys):
    assert "did you mean 'root-n'" in error(monkeypatch, capsys, "run", "root")
    assert "did you mean 'n_train'" in error(monkeypatch, capsys, "run", "root-n", "--set", "ntrain=3")
    assert "'repetitions' of 'root-n' cannot be 1" in error(
        monkeypatch, capsys, "run", "root-n", "--set", "repetitions=1"
    )
    assert "write NAME=VALUE" in error(monkeypatch, capsys, "run", "root-n", "--set", "repetitions")
    assert "no experiment or claim 'rot'" in error(monkeypatch, capsys, "verify", "rot")


def test_shell_completion_offers_the_names(own, monkeypatch):
    from learnscope.cli.laboratory import _complete_names

    assert "root-n" in _complete_names("ro")
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")  # there may be no shell
    result = runner.invoke(cli.app, ["--show-completion", "bash"])
    assert result.exit_code == 0
