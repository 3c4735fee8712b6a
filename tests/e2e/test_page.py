"""The page in a real headless Chromium, beside real runs: it shows what the server says, its buttons reach the workers, and it
costs and breaks nothing. One browser and one endless run serve most of the tests."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import Browser, Page, ViewportSize

from tests.conftest import leaving_nothing, until
from tests.e2e.browsing import CHROMIUM, DESKTOP, PHONE, WATCHED, chromium, listen, served
from tests.e2e.commands import ENDLESS, SMALL
from tests.e2e.looking import colours, events, figures, get, has_colour, is_wider_than_its_window, nameless, text

Open: TypeAlias = Callable[..., Page]
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def no_leaks() -> Iterator[None]:
    """Held to once, at the end, for the tests share a browser and a run."""
    with leaving_nothing():
        yield


@pytest.fixture(scope="module")
def browser(no_leaks: None) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def training(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page of a run with four workers that goes on and on, and whose workers may be killed."""
    folder = tmp_path_factory.mktemp("training")
    often = ["--set", "runtime.evaluate_every=40"]
    with served("train", *ENDLESS, *often, *WATCHED, "--allow-faults", "--out", "endless", cwd=folder) as url:
        until("the run to have something to show", lambda: get(url)["number"] > 4 and get(url)["evaluations"])
        yield url


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Opens pages, and complains at the end if one of them had anything to complain about, or asked anybody else."""
    complaints: list[str] = []
    pages: list[Page] = []

    def visit(url: str, size: ViewportSize = DESKTOP, **options: Any) -> Page:
        page = browser.new_page(viewport=size, **options)
        pages.append(page)
        listen(page, url, complaints)
        page.goto(url)
        return page

    yield visit
    found = list(complaints)  # before the closing of pages breaks their streams
    for page in pages:
        page.close()
    assert found == []


def test_the_page_shows_the_numbers_of_the_run(training: str, visit: Open) -> None:
    page = visit(training)
    page.wait_for_selector(".worker")

    def agrees() -> bool:
        told = get(training)
        now = told["now"]
        shown = figures(page)
        return (
            shown["samples/s"] == f"{now['samples_per_s']:,.0f}"
            and shown["overlap"] == f"{now['overlap'] * 100:.0f} %"
            and shown["test accuracy"] == f"{told['evaluations'][-1]['accuracy'] * 100:.2f} %"
            and shown["epoch"] == f"{now['epoch']:,}/100,000"
            and page.locator(".depth").all_inner_texts() == [f"{one['inbox']}/8" for one in now["workers"]]
            and page.locator(".doing").all_inner_texts() == [one["state"] for one in now["workers"]]
        )

    until("the page to show what the server says", agrees)
    assert text(page, "#name") == "endless"
    assert text(page, "#state") == "training"
    assert page.locator("#facts li").all_inner_texts() == ["dni", "digits", "hidden 32, 32, 32", "batch 64", "readout heads"]
    assert page.locator(".worker h3").all_inner_texts() == [f"stage {i}" for i in range(4)]
    assert page.locator(".layers").all_inner_texts() == ["layer 0 · 32", "layer 1 · 32", "layer 2 · 32", "layer 3 · output"]
    assert all(re.fullmatch(r"[\d.]+k?/s", rate) for rate in page.locator(".rate").all_inner_texts())
    assert page.locator("#banner").is_hidden()


def test_the_timeline_and_the_charts_are_painted_and_told_in_words(training: str, visit: Open) -> None:
    page = visit(training)

    until("the timeline to be painted in many colours", lambda: colours(page, "#timeline") > 4)
    until("it to be told in words", lambda: "stage 3 busy" in (page.locator("#timeline").get_attribute("aria-label") or ""))
    page.locator("#span").select_option("1 s")
    assert text(page, "#axis").endswith("0.25 s\nnow")
    until("it to be painted anew", lambda: colours(page, "#timeline") > 4)
    assert page.locator("figure h3").all_inner_texts() == [
        "Samples a second",
        "Loss",
        "Test accuracy",
        "Test metrics",
        "Busy share",
        "Staleness, in updates",
        "True gradients",
        "Head cosine",
    ]
    assert all(colours(page, f"figure:nth-of-type({i}) canvas") > 2 for i in (1, 2, 5, 6, 7, 8))
    assert page.locator("figure", has_text="Busy share").locator("li").count() == 4
    page.locator("figure .u-over").first.hover(position={"x": 1, "y": 20})
    until("the value under the cursor, at the very beginning", lambda: text(page, "figure .key b") == "0")
    chart = page.locator("[role=img].plot").first
    chart.press("ArrowRight")
    until("the next value to be told", lambda: "; at " in (chart.get_attribute("aria-label") or ""))


def test_a_worker_killed_by_keyboard_is_replaced_and_its_neighbours_go_on(training: str, visit: Open) -> None:
    page = visit(training)
    button = page.get_by_role("button", name="Kill the worker of stage 2")
    button.focus()
    before = get(training)["now"]["samples"]

    page.keyboard.press("Enter")

    until("an answer", lambda: text(page, "#answer") == "The worker of stage 2 was asked to kill itself.")
    until("its loss and its successor", lambda: {"stage 2 lost", "stage 2 rejoined"} <= {name(one) for one in events(page)})
    assert button.evaluate("it => it === document.activeElement"), "the page was not built anew below the finger"
    restarts = page.locator(".worker").nth(2).locator(".numbers div", has_text="restarts")
    until("the restart to be counted", lambda: restarts.inner_text().split() == ["restarts", "1"])
    rate = page.get_by_role("img", name=re.compile(r"Samples a second .* marked: lost at .*, rejoined at "))
    until("the chart to mark it", lambda: rate.count() == 1)
    assert has_colour(page, "figure canvas", "--bad")
    assert has_colour(page, "#timeline", "--kind-x")
    until("training to go on", lambda: get(training)["now"]["samples"] > before)
    assert "stage 2 rejoined" in (page.locator("#news").text_content() or "")


def name(event: str) -> str:
    """What an event is, without its time and its detail."""
    found = re.search(r"(stage \d )?(lost|rejoined|silent|back|began|checkpoint|evicted|resumed|rolled back)", event)
    return found[0] if found else event


def test_a_worker_is_paused_and_comes_back(training: str, visit: Open) -> None:
    page = visit(training)

    page.get_by_role("button", name="Pause the worker of stage 1 for 5 seconds").click()

    until("an answer", lambda: text(page, "#answer") == "The worker of stage 1 was asked to pause for 5 seconds.")
    until("its silence to be seen", lambda: page.locator(".doing").nth(1).inner_text() == "silent")
    until("its return", lambda: {"stage 1 silent", "stage 1 back"} <= {name(one) for one in events(page)})


def test_a_page_opened_late_shows_the_run_so_far(training: str, visit: Open) -> None:
    until("some seconds of training", lambda: get(training)["now"]["seconds"] > 5)

    page = visit(training)

    chart = page.locator("[role=img].plot").first
    until("its charts", lambda: chart.get_attribute("aria-label") is not None)
    reach = re.search(r"from ([\d.]+) s to ([\d.]+) s", chart.get_attribute("aria-label") or "")
    assert reach is not None
    assert float(reach[1]) < 1
    assert float(reach[2]) > 4
    assert events(page)[-1].endswith("4 workers")
    with page.expect_response("**/api/run"):  # as when a tab comes back from the background
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_a_browser_that_is_closed_midway_leaves_the_run_undisturbed(training: str, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(training)
    page.wait_for_selector(".worker")
    page.close()

    before = get(training)

    until("the run to go on", lambda: get(training)["number"] > before["number"] + 2)
    assert get(training)["state"] == "training"


@pytest.mark.parametrize(("scheme", "ground"), [("light", "rgb(243, 244, 246)"), ("dark", "rgb(15, 19, 24)")])
def test_the_page_fits_a_phone_in_light_and_dark_and_everything_has_a_name(
    scheme: str, ground: str, training: str, visit: Open
) -> None:
    page = visit(training, PHONE, color_scheme=scheme, device_scale_factor=2, reduced_motion="reduce")
    until("everything to be there", lambda: page.locator("[role=img]").count() == 9 and colours(page, "#timeline") > 4)
    until("it to be told in words", lambda: nameless(page) == [])

    assert not is_wider_than_its_window(page)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.ariaLabel") == "Pause the worker of stage 0 for 5 seconds"
    page.emulate_media(color_scheme="light" if scheme == "dark" else "dark")
    until("the other theme", lambda: page.evaluate("getComputedStyle(document.body).backgroundColor") != ground)


def test_a_page_opened_before_the_run_begins_sees_it_to_its_end_and_has_no_buttons(tmp_path: Path, visit: Open) -> None:
    with served("train", *SMALL, "--schedule", "single", *WATCHED, "--out", "brief", cwd=tmp_path) as url:
        page = visit(url)
        until("its name", lambda: text(page, "#name") == "brief")

        until("the end", lambda: text(page, "#state") == "finished")

        assert page.locator(".worker").count() == 1
        assert page.locator(".depth, button").count() == 0
        assert page.locator("figure", has_text="Head cosine").is_hidden()
        assert re.fullmatch(r"\d\d\.\d\d %", figures(page)["test accuracy"])
        accuracy = figures(page)["test accuracy"]
    assert text(page, "#state") == "finished", "though nobody serves it any more"
    assert page.locator("#banner").is_hidden()

    with dashboard_of(tmp_path / "brief") as url:
        again = visit(url)
        until("the finished run", lambda: text(again, "#state") == "finished")
        assert figures(again)["test accuracy"] == accuracy
        report = json.loads((tmp_path / "brief" / "report.json").read_text())
        assert accuracy == f"{report['test_accuracy'] * 100:.2f} %"
        assert int(figures(again)["samples/s"].replace(",", "")) == pytest.approx(report["samples_per_s"], abs=1)


@contextmanager
def dashboard_of(folder: Path, address: str = "127.0.0.1:0") -> Iterator[str]:
    with served("dashboard", folder.name, "--address", address, cwd=folder.parent) as url:
        yield url


def test_strangers_records_are_shown_as_text_and_a_lost_connection_is_told_and_made_again(
    training: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, visit: Open, browser: Browser
) -> None:
    source = next(tmp_path_factory.getbasetemp().glob("training*/endless"))
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    folder.mkdir()
    shutil.copy(source / "run.toml", folder)
    (folder / "metrics.jsonl").write_text(json.dumps(sixteen_workers(source)) + "\n")
    with dashboard_of(folder) as url:
        page = visit(url)
        until("sixteen workers", lambda: page.locator(".worker").count() == 16)
        assert text(page, "#name") == folder.name
        assert "<b>bold</b><script>alert(1)</script>" in events(page)[0]
        assert page.locator("img, b b, main script").count() == 0
        assert not re.search(r"\d", figures(page)["training loss"])
        assert page.locator("figure", has_text="Test accuracy").is_hidden()
        assert not is_wider_than_its_window(page)
        assert page.locator(".doing").first.inner_text() == "restarting"
        until("the silence to be told", lambda: text(page, "#state").startswith("no news for"))
        quiet = browser.new_page()  # one that may complain
        quiet.goto(url)
        until("it to be known", lambda: quiet.locator(".worker").count() == 16)
        page.close()
    until("the loss to be told", lambda: text(quiet, "#state") == "connection lost" and quiet.locator("#banner").is_visible())
    with dashboard_of(folder, url.removeprefix("http://")):
        until("the connection to be made again", lambda: quiet.locator("#banner").is_hidden())
        quiet.close()


def sixteen_workers(source: Path) -> dict[str, Any]:
    """A record of a run of another's making, in which nothing is known that need not be."""
    record: dict[str, Any] = json.loads((source / "metrics.jsonl").read_text().splitlines()[0])
    worker = record["workers"][0] | {"head_cosine": None, "state": "restarting"}
    evil = {"seconds": 1.0, "stage": 3, "what": "lost", "detail": "<b>bold</b><script>alert(1)</script>"}
    return record | {
        "loss": None,
        "accuracy": None,
        "evaluations": [{"epoch": 1, "loss": None, "accuracy": None, "seconds": 1.0}],
        "incidents": [evil],
        "workers": [worker | {"stage": stage, "layers": [stage], "inbox": 4096} for stage in range(16)],
        "strips": ["x0" * 50] * 15 + ["?0" * 50],
    }
