"""Take the README's picture from a report: ``.venv/bin/python docs/picture.py runs/demo-mnist-cnn-0/report.html``.

The picture in the repository is of ``LEARNSCOPE_DATA=... learnscope demo --data mnist``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).with_name("report.png")


def main(report: Path) -> None:
    """Photograph the two first figures of a report."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1240}, color_scheme="light")
        page.goto(report.resolve().as_uri())
        page.locator(".js-plotly-plot .main-svg").nth(2).wait_for(state="attached", timeout=60_000)
        page.locator("#simplicity").evaluate("figure => figure.scrollIntoView()")
        page.wait_for_timeout(2000)
        page.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
