"""Pictures of the page for the README: a real run, one of whose workers is killed by the page's own button."""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page

from tests.conftest import until
from tests.e2e.browsing import DESKTOP, PHONE, WATCHED, chromium, served

RUN = ["--hidden", "256,256,256", "--epochs", "2000", "--overflow", "drop-oldest", "--set", "runtime.evaluate_every=150"]
TALL = 1270  # what of the phone's long page is in its picture
PICTURES = Path("docs/pictures")


def take(folder: Path) -> None:
    """Writes the three pictures to a folder."""
    with (
        tempfile.TemporaryDirectory() as place,
        served("train", *RUN, *WATCHED, "--allow-faults", "--out", "digits", cwd=Path(place)) as url,
        chromium() as browser,
    ):
        page = browser.new_page(viewport=DESKTOP)
        page.goto(url)
        page.wait_for_selector(".worker", timeout=60_000)
        until("two evaluations", lambda: evaluated(page, url) >= 300, seconds=60)  # the next one is some seconds away
        page.get_by_role("button", name="Kill the worker of stage 2").click()
        until("its successor", lambda: page.locator("[data-what=rejoined]").count() > 0, seconds=60)
        page.wait_for_timeout(2_500)
        page.mouse.move(0, 0)
        page.screenshot(path=folder / "dashboard-light.png", full_page=True)
        page.emulate_media(color_scheme="dark")
        page.wait_for_timeout(500)
        page.screenshot(path=folder / "dashboard-dark.png", full_page=True)
        page.set_viewport_size(PHONE | {"height": TALL})
        page.wait_for_timeout(500)
        page.screenshot(path=folder / "dashboard-phone.png")
        page.close()


def evaluated(page: Page, url: str) -> int:
    """The last epoch after which the test set was gone through."""
    evaluations = page.request.get(f"{url}/api/now").json()["evaluations"]
    return int(evaluations[-1]["epoch"]) if evaluations else 0


if __name__ == "__main__":
    take(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES)
