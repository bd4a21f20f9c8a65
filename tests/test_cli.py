import json
import re

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from learnscope import cli
from learnscope.demo import recipe
from learnscope.errors import InputError
from learnscope.scope.scope import Scope

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})


@pytest.fixture
def run_folder(tmp_path):
    x, y = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    Scope(nn.Linear(4, 2), (x, y), store=tmp_path / "run")
    return tmp_path / "run"


def test_help_teaches_by_example():
    for arguments in (["--help"], ["demo", "--help"], ["report", "--help"], ["findings", "--help"]):
        result = runner.invoke(cli.app, arguments)
        assert result.exit_code == 0
        assert "learnscope" in result.output


def test_version():
    assert re.fullmatch(r"learnscope \d+\.\d+\.\d+\n", runner.invoke(cli.app, ["--version"]).output)


def test_findings_and_report_of_a_stored_run(run_folder, tmp_path):
    findings = runner.invoke(cli.app, ["findings", str(run_folder)])
    assert findings.exit_code == 0
    assert "the network answers" in findings.output
    result = runner.invoke(cli.app, ["report", str(run_folder), "--output", str(tmp_path / "page.html")])
    assert result.exit_code == 0
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "page.html").as_uri() in result.output


def test_errors_are_one_sentence_and_exit_status_one(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["learnscope", "findings", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    assert "there is no record in" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value", "nearest"), [("--data", "digts", "digits"), ("--network", "cn", "cnn")])
def test_an_unknown_choice_gives_the_nearest(option, value, nearest, tmp_path):
    result = runner.invoke(cli.app, ["demo", option, value, "--store", str(tmp_path / "run")])
    assert isinstance(result.exception, InputError)
    assert nearest in str(result.exception)
    assert result.output == ""  # no bar for a run that cannot begin


def test_demo_trains_prints_findings_and_writes_the_report(monkeypatch, tmp_path):
    monkeypatch.setitem(recipe.RECIPES, "digits", recipe.Recipe(2, 64, 0.05, probe_examples=100))
    result = runner.invoke(cli.app, ["demo", "--network", "mlp", "--store", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert "of the probe correctly" in result.output
    assert (tmp_path / "run" / "report.html").exists()
    attributes = json.loads((tmp_path / "run" / "record.zarr" / "zarr.json").read_text())["attributes"]
    assert attributes["class_names"] == [str(k) for k in range(10)]
    assert attributes["simple_models"]["linear"]["fitted_on"] == "1200 training examples"
