"""A real Chromium without a screen, and commands that serve pages to it."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, ViewportSize, sync_playwright

from tests.e2e.commands import read_until, started

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 375, "height": 700}
WATCHED = ["--dashboard", "--dashboard-address", "127.0.0.1:0"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser while the context lasts."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@contextmanager
def served(*command: str, cwd: Path) -> Iterator[str]:
    """A command that serves a page while the context lasts; gives the page's address."""
    process = started(*command, cwd=cwd)
    try:
        found = re.search(r"http://127\.0\.0\.1:\d+", read_until(process, "http://"))
        assert found is not None
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=20)
