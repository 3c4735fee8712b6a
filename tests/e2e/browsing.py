"""A real Chromium without a screen, commands that serve pages to it, and what the pages complain about."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, ViewportSize, sync_playwright

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


def listen(page: Page, url: str, complaints: list[str]) -> None:
    """Notes errors, failed requests, and requests to anybody but the page's server."""

    def on_message(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def on_request(request: Request) -> None:
        if not request.url.startswith(f"{url}/"):
            complaints.append(f"asked {request.url}")

    def on_failure(request: Request) -> None:
        if not request.url.endswith("/api/events") or request.failure != "net::ERR_ABORTED":  # the page ends its stream itself
            complaints.append(f"{request.url}: {request.failure}")

    def on_response(response: Response) -> None:
        if not response.ok:
            complaints.append(f"{response.url}: {response.status}")

    page.on("console", on_message)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", on_request)
    page.on("requestfailed", on_failure)
    page.on("response", on_response)
