"""The page as a whole: complete, small, safe, written at once."""

from __future__ import annotations

import html
import json
import re

import numpy as np
import pytest
import xarray as xr

from learnscope.errors import StoreError
from learnscope.findings import Finding, find
from learnscope.report import write_report
from learnscope.report.chart import Figure
from learnscope.report.figures import FIGURES, figures_of
from learnscope.report.page import Item, Page, render

from .conftest import XSS

MEGABYTE = 1_000_000


def text_of(data: xr.Dataset, folder, findings=()) -> str:
    return write_report(data, findings, folder / "run.html").read_text(encoding="utf-8")


def embedded(text: str) -> list[dict]:
    found = re.search(r'<script type="application/json" id="figure-data">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found[1])


def without_scripts(text: str) -> str:
    return re.sub(r"<script.*?</script>", "", text, flags=re.S)


def test_every_figure_is_on_the_page_of_a_full_record_under_the_name_of_its_function(record, tmp_path):
    text = text_of(record(), tmp_path)
    names = [figure["name"] for figure in embedded(text)]
    assert names == [function.__name__ for function in FIGURES]
    assert all(f'id="{name}"' in text for name in names)


def test_findings_come_first_warnings_before_results_and_link_to_their_figure(record, tmp_path):
    findings = [
        Finding("a", "All is well.", {"some_value": 0.12345}, 3, "settling"),
        Finding("b", "Something is wrong.", {}, None, "health", "warning"),
        Finding("c", "No figure shows this.", {}, None, "nowhere"),
    ]
    text = without_scripts(text_of(record(), tmp_path, findings))
    places = [text.index(part) for part in ("Something is wrong.", "All is well.", 'class="figure"')]
    assert places == sorted(places)
    assert 'href="#settling"' in text
    assert 'href="#health"' in text
    assert "#nowhere" not in text
    assert "some value" in text
    assert "0.1235" in text


def test_every_finding_of_the_rules_refers_to_a_figure_of_the_page(record):
    data = record(layers=[f"layer{k}" for k in range(6)])
    findings = find(data)
    assert findings
    assert {finding.figure for finding in findings if finding.figure} <= {figure.name for figure in figures_of(data)}


def test_captions_carry_the_source_and_the_page_the_set_up(record, tmp_path):
    text = without_scripts(text_of(record(), tmp_path))
    assert "Source: Somebody 2020." in text
    for fact in (
        "synthetic",
        "1,234 parameters",
        "30 examples, 3 classes",
        "100 training examples",
        "did not converge",
    ):
        assert fact in text
    assert "abcdef" not in text


def test_names_are_escaped_wherever_they_reach_the_page(record, tmp_path):
    data = record(layers=["conv", XSS, "head"])
    data.attrs |= {"run": XSS, "class_names": [XSS, "b", "c"], "failures": {XSS: XSS}}
    data.attrs["simple_models"] = {XSS: {"fitted_on": XSS, "converged": True}}
    text = text_of(data, tmp_path, [Finding("rule", XSS, {XSS: XSS})])
    assert XSS not in text
    assert "<img src=x" not in text
    assert html.escape(XSS) in text
    assert any(XSS in chart["choices"][0]["y"].get("values", []) for f in embedded(text) for chart in f["charts"])


def test_the_page_refers_to_nothing_outside_itself(record, tmp_path):
    text = without_scripts(text_of(record(), tmp_path))
    assert "default-src 'none'" in text
    assert not re.findall(r'(?:src|href)="(?!#|data:)', text)


@pytest.mark.parametrize(
    "options",
    [
        {"layers": [f"backbone.stage{k // 10}.block{k}.conv" for k in range(60)], "examples": 1500, "classes": 100},
        {"steps": np.unique(np.geomspace(1, 1e6, 400).astype(int)), "examples": 3000},
        {"layers": [f"l{k}" for k in range(60)], "steps": range(0, 3000, 10), "examples": 500, "classes": 2},
    ],
)
def test_pages_of_large_records_stay_under_eight_megabytes_and_say_what_they_leave_out(record, tmp_path, options):
    text = text_of(record(**options), tmp_path)
    assert len(text.encode()) < 8 * MEGABYTE
    assert "evenly spread" in text


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"task": "regression", "image": (7,)}, {"simplicity", "learning_times", "separability"}),
        (
            {"task": None, "image": (7,)},
            {"simplicity", "learning_times", "separability", "progress", "kernel_components"},
        ),
        ({"steps": [0]}, {"settling", "movement", "regime"}),
    ],
)
def test_figures_without_ingredients_are_left_out(record, tmp_path, options, missing):
    data = record(**options)
    assert {f.__name__ for f in FIGURES} - {figure.name for figure in figures_of(data)} == missing
    assert len(embedded(text_of(data, tmp_path))) == len(FIGURES) - len(missing)


@pytest.mark.parametrize("function", FIGURES, ids=lambda f: f.__name__)
def test_a_figure_survives_missing_values_and_is_none_where_nothing_was_measured(record, function):
    data = record()
    half = data.copy(deep=True)
    for name, values in half.data_vars.items():
        if values.dtype.kind == "f" and "step" in values.dims:
            half[name][{"step": 3}] = np.nan
    assert isinstance(function(half), Figure)
    assert function(xr.Dataset()) is None
    assert function(data.isel(step=slice(0, 0))) is None
    empty = data.where(np.isnan(data["step"]))
    assert function(empty.drop_vars([n for n in ("label", "correct", "input") if n in data])) is None


def test_an_empty_record_still_makes_a_page(tmp_path):
    text = text_of(xr.Dataset(), tmp_path, [Finding("rule", "A sentence.")])
    assert "A sentence." in text
    assert "<script" not in text


def test_writing_replaces_the_old_page_and_leaves_no_other_file(record, tmp_path):
    path = tmp_path / "new" / "run.html"
    for sentence in ("Old.", "New."):
        assert write_report(record(), [Finding("rule", sentence)], path) == path
    assert "New." in path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["run.html"]


def test_a_folder_that_cannot_be_written_is_told_in_one_sentence(record, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be written to '.*run.html' .*choose another place"):
        write_report(record(), [], tmp_path / "file" / "run.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        write_report(record(), [], tmp_path / "folder.html")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.html"]


def test_a_page_needs_neither_a_record_nor_figures():
    text = render(Page("An <experiment>", items=[Item("It was reproduced.")], remarks=["A caveat."]))
    assert "An &lt;experiment&gt;" in text
    assert "It was reproduced." in text
    assert "A caveat." in text
