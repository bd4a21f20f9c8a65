"""The page of an experiment: what stands on it, and that it works in a real browser at every width."""

import re
import shutil
from pathlib import Path

import pytest

from learnscope.laboratory import run


@pytest.fixture
def page(experiment, tmp_path):
    finished = run(experiment, changes={"dim": 50}, store=str(tmp_path / "runs"), workers=0)
    return Path(finished.report(tmp_path / "page.html"))


def plain(path):
    return re.sub(r"<script.*?</script>|<style.*?</style>", "", path.read_text(), flags=re.DOTALL)


def test_claims_settings_provenance_and_what_to_cite_stand_on_the_page(page):
    text = plain(page)
    for part in ("Shifted &lt;means&gt;", "reproduced", "A shift moves the mean.", "three standard errors", "no shift"):
        assert part in text
    for part in ("Gauss 1809", "50: numbers in a sample", "0 to 4", "10 points in", "torch 2"):
        assert part in text


def test_points_that_raised_and_points_that_are_not_finite_are_told(variant, with_nan, tmp_path):
    def raises_without_shift(point, generator):
        if not point.shift:
            raise ValueError("no <shift>")
        return with_nan(point, generator)

    finished = run(variant(simulate=raises_without_shift), store=str(tmp_path), seeds=8, workers=0)
    text = plain(Path(finished.report()))
    assert "8 points raised ValueError: no &lt;shift&gt;" in text
    assert "points are not finite (in mean)" in text
    assert "inconclusive" in text


def test_a_run_without_any_result_still_has_a_page(variant, tmp_path):
    def raises(point, generator):
        raise ValueError("nothing works")

    finished = run(variant(simulate=raises), store=str(tmp_path), workers=0)
    assert "nothing works" in plain(Path(finished.report()))


@pytest.mark.browser
@pytest.mark.parametrize("width", [400, 800, 1400])
def test_the_page_is_quiet_and_fits_its_window(page, width):
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed, so the page cannot be tried in a browser")
    from playwright.sync_api import sync_playwright

    complaints = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": width, "height": 900})
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.goto(page.as_uri())
        opened.wait_for_selector("html[data-drawn=all]", state="attached")
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        assert opened.locator(".claim .verdict").first.inner_text() == "reproduced"
        browser.close()
    assert complaints == []
