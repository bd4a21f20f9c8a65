"""The page in a real browser: quiet, self-contained, alive, and no wider than its window."""

from __future__ import annotations

import csv
import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from learnscope.findings import Finding, find
from learnscope.report import write_report

from .conftest import STEPS, XSS, Synthetic

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LAST = len(STEPS) - 1
TRACE_SUM = "(plot) => plot.data.flatMap((t) => Array.from(t.y)).reduce((sum, v) => sum + Math.abs(v || 0), 0)"


class Opened:
    """A page that was opened, and everything that it complained about or asked for."""

    def __init__(self, browser: Any, path: Path, width: int = 1400) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="light")
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        start = time.perf_counter()
        self.page.goto(path.as_uri())
        self.loaded = time.perf_counter() - start
        self.page.wait_for_selector("html[data-drawn=all]", state="attached")
        self.drawn = time.perf_counter() - start

    @property
    def outside(self) -> list[str]:
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]

    def numbers(self, figure: str) -> float:
        return self.page.eval_on_selector(f"#{figure} .plot", TRACE_SUM)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed, so the page cannot be tried in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return Synthetic().data()


@pytest.fixture(scope="module")
def shared(browser, data, tmp_path_factory) -> Opened:
    """One page that most tests use, each its own figure."""
    return Opened(browser, write_report(data, find(data), tmp_path_factory.mktemp("page") / "run.html"))


@pytest.fixture
def opened(shared) -> Iterator[Opened]:
    yield shared
    assert shared.complaints == []
    assert shared.outside == []


def test_the_page_loads_quickly(opened):
    assert opened.loaded < 10  # about 0.5 s on two cores; the bound is for busy machines
    assert opened.drawn < 60


@pytest.mark.parametrize("layers", [3, 60])
def test_nothing_is_wider_than_the_window(browser, record, tmp_path, layers):
    names = [f"backbone.stage{k // 10}.block{k}.conv_with_a_long_name" for k in range(layers)]
    large = record(layers=names, classes=100 if layers == 60 else 2, examples=200)
    opened = Opened(browser, write_report(large, find(large), tmp_path / "run.html"), width=400)
    for width in (400, 800, 1400):
        opened.page.set_viewport_size({"width": width, "height": 900})
        opened.page.wait_for_timeout(3000 if width > 400 and layers == 60 else 1000)
        sizes = opened.page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
        assert sizes[0] <= sizes[1] == width
        beyond = opened.page.evaluate(
            "[...document.querySelectorAll('section, .plot svg, select, input, button, li')]"
            ".filter((e) => e.getBoundingClientRect().right > innerWidth + 1).length"
        )
        assert beyond == 0
        widths = opened.page.eval_on_selector("#simplicity .plot", "(plot) => [plot.layout.width, plot.clientWidth]")
        assert widths[0] == widths[1]
    assert opened.complaints == []
    opened.page.close()


@pytest.mark.parametrize("figure", ["dimension", "spectra", "components", "separability"])
def test_a_slider_changes_what_is_drawn_and_says_the_step(opened, figure):
    before = opened.numbers(figure)
    slider = opened.page.locator(f"#{figure} input[type=range]").first
    slider.focus()
    slider.press("Home")
    assert opened.numbers(figure) != pytest.approx(before)
    assert slider.get_attribute("aria-valuetext") == "step 0"
    slider.press("ArrowRight")
    assert opened.page.locator(f"#{figure} output").first.inner_text() == f"step {STEPS[1]}"
    slider.press("End")
    assert opened.numbers(figure) == pytest.approx(before)


def test_play_runs_to_the_last_step_and_can_be_paused(opened):
    play, slider = opened.page.locator("#spectra .play"), opened.page.locator("#spectra input[type=range]")
    play.click()
    assert play.inner_text() == "Pause"
    opened.page.wait_for_selector("#spectra .play:has-text('Play')", timeout=60_000)
    assert slider.input_value() == str(LAST)
    play.click()
    play.click()
    assert play.inner_text() == "Play"
    at = int(slider.input_value())
    assert at < LAST
    opened.page.wait_for_timeout(800)
    assert int(slider.input_value()) == at


def test_a_choice_draws_another_quantity(opened, data):
    opened.page.locator("#movement select").select_option(label="cosine")
    drawn = opened.page.eval_on_selector("#movement .plot", "(plot) => Array.from(plot.data[0].y)")
    np.testing.assert_allclose(drawn, data["weight_cosine"].values[:, 0], rtol=1e-4)


def test_what_plotly_holds_is_what_the_record_holds(opened, data):
    lines = opened.page.eval_on_selector(
        "#simplicity .plot", "(plot) => Object.fromEntries(plot.data.filter((t) => t.name).map((t) => [t.name, t.y]))"
    )
    np.testing.assert_allclose(lines["network knows, I(F;Y)"], data["network_information"], rtol=1e-4)
    heat = opened.page.eval_on_selector("#settling .plot", "(plot) => plot.data[0].z")
    np.testing.assert_allclose(heat, data["cka_to_final"].values.T, rtol=1e-4)
    points = opened.page.eval_on_selector(
        "#components .panel:last-child .plot", "(plot) => plot.data.map((t) => [t.x, t.y])"
    )
    drawn = np.sort(np.concatenate([np.stack(trace, axis=1) for trace in points]), axis=0)
    expected = np.sort((data["basis"][-1, -1, :, :2] * data["basis_scale"][-1, -1, :2]).values, axis=0)
    np.testing.assert_allclose(drawn, expected, atol=1e-3)


def test_points_have_one_unit_of_length_on_both_axes(opened):
    ratio = opened.page.eval_on_selector(
        "#components .plot",
        "({_fullLayout: l}) => (l.xaxis._length / (l.xaxis.range[1] - l.xaxis.range[0]))"
        " / (l.yaxis._length / (l.yaxis.range[1] - l.yaxis.range[0]))",
    )
    assert ratio == pytest.approx(1, rel=1e-3)


def test_step_zero_has_a_place_left_of_step_one(opened):
    places, words = opened.page.eval_on_selector(
        "#simplicity .plot", "({layout: {xaxis}}) => [xaxis.tickvals, xaxis.ticktext]"
    )
    assert words[:2] == ["0", "1"]
    assert places[0] < places[1] == 0


def test_estimates_that_have_not_converged_have_hollow_markers(opened):
    colours, paper = opened.page.eval_on_selector(
        "#progress .plot", "(plot) => [plot.data[plot.data.length - 2].marker.color, Look.theme().paper]"
    )
    assert [colour == paper for colour in colours] == [True] + [False] * LAST


def test_the_theme_follows_the_system_and_can_be_changed(opened):
    page = opened.page

    def look() -> list[str]:
        body = "getComputedStyle(document.body)"
        return page.evaluate(f"[{body}.color, {body}.backgroundColor]")

    light = look()
    assert light[1] == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    dark = look()
    assert dark[0] != light[0]
    assert dark[1] != light[1]
    assert page.eval_on_selector("#simplicity .plot", "(plot) => plot.layout.font.color") == dark[0]
    page.locator("#theme").click()
    assert look() == light
    assert page.eval_on_selector("#simplicity .plot", "(plot) => plot.layout.font.color") == light[0]


def test_a_series_can_be_hidden_and_shown_again(opened):
    count = "(plot) => plot.data.filter((t) => t.name).length"
    before = opened.page.eval_on_selector("#simplicity .plot", count)
    button = opened.page.locator("#simplicity .legend button").first
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert opened.page.eval_on_selector("#simplicity .plot", count) == before - 1
    button.click()
    assert opened.page.eval_on_selector("#simplicity .plot", count) == before


def test_data_and_drawing_can_be_downloaded(opened, data):
    with opened.page.expect_download() as download:
        opened.page.locator("#dimension [data-csv]").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    assert download.value.suggested_filename == "dimension.csv"
    chosen = [r for r in rows if r["step"] == "16" and r["estimator"] == "TwoNN, fit"]
    assert [r["layer"] for r in chosen] == ["conv1", "conv2", "head"]
    np.testing.assert_allclose([float(r["value"]) for r in chosen], data["intrinsic_dimension"].sel(step=16), rtol=1e-4)
    with opened.page.expect_download() as download:
        opened.page.locator("#simplicity [data-svg]").click()
    assert Path(download.value.path()).read_text(encoding="utf-8").startswith("<svg")


def test_links_of_findings_lead_to_their_figures(opened):
    link = opened.page.locator("a.see").first
    target = link.get_attribute("href")
    link.click()
    top = opened.page.eval_on_selector(target, "(section) => section.getBoundingClientRect().top")
    assert 0 <= top < 100


def test_planted_markup_does_not_run(browser, record, tmp_path):
    data = record(layers=["conv", XSS, "<b>%{y}</b> $x$"])
    data.attrs |= {"run": XSS, "class_names": [XSS, '"onmouseover="alert(2)', "c"], "failures": {XSS: XSS}}
    opened = Opened(browser, write_report(data, [Finding("rule", XSS, {XSS: XSS})], tmp_path / "run.html"))
    assert opened.page.locator("img[src=x]").count() == 0
    assert opened.page.title() == XSS
    ticks = opened.page.eval_on_selector(
        "#settling .plot", "(plot) => [...plot.querySelectorAll('.ytick')].map((tick) => tick.textContent.trim())"
    )
    assert ticks[2] == "<b>%{y}</b> $x$"
    with opened.page.expect_download() as download:
        opened.page.locator("#settling [data-csv]").click()
    assert XSS in Path(download.value.path()).read_text(encoding="utf-8")
    assert opened.complaints == []
    assert opened.outside == []
    opened.page.close()
