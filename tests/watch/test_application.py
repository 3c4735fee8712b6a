"""What the page's server tells, to whom, and what it may be asked to do. Without a socket."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from decoupled.config import Fault
from decoupled.watch.application import application
from decoupled.watch.follow import Follower
from tests.conftest import until
from tests.watch.moments import begin, evaluation, go_on, lost, values

JSON = {"content-type": "application/json"}


@contextmanager
def client(folder: Path, faults: list[Fault] | None = None) -> Iterator[TestClient]:
    """A browser that looks at a folder's run; what its buttons ask for is added to `faults`."""
    order = faults.append if faults is not None else None
    with TestClient(application(Follower(folder), ["127.0.0.1"], order), base_url="http://127.0.0.1:8080") as made:
        yield made


TESTED = evaluation(1, 0.3, metrics={"perplexity": 4.5})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """That of a run under way."""
    begin(tmp_path)
    go_on(tmp_path, values(0.25), values(0.5, incidents=[lost(0.4)], evaluations=[TESTED]))
    return tmp_path


def told(browser: TestClient, path: str = "/api/now", number: int = 2) -> Any:
    """What is told as soon as so many records have been read."""
    until("the records", lambda: browser.get("/api/now").json()["number"] >= number)
    return browser.get(path).json()


def test_now_and_the_history_are_told_and_followed(folder: Path) -> None:
    with client(folder) as browser:
        now, history = told(browser), told(browser, "/api/run")
        go_on(folder, values(0.75))
        later = told(browser, number=3)

    assert (now["state"], now["now"]["seconds"], now["allows_faults"], now["failure"]) == ("training", 0.5, False, None)
    assert history["history"]["seconds"] == [0.25, 0.5]
    assert later["now"]["seconds"] == 0.75


def test_a_run_that_has_not_begun_is_waited_for(tmp_path: Path) -> None:
    with client(tmp_path / "run") as browser:
        assert browser.get("/api/run").json()["state"] == "waiting"
        assert browser.get("/healthz").text == "waiting\n"
        assert 'state="waiting"} 1.0' in browser.get("/metrics").text


def test_a_damaged_run_is_told_as_such_and_the_page_still_served(folder: Path) -> None:
    (folder / "metrics.jsonl").write_text("rubbish\n")

    with client(folder) as browser:
        until("the damage", lambda: browser.get("/healthz").status_code == 500)

        assert "metrics.jsonl has a line" in browser.get("/api/now").json()["failure"]
        assert browser.get("/").status_code == 200


def test_metrics_have_units_in_their_names_and_a_value_for_each_stage(folder: Path) -> None:
    with client(folder) as browser:
        told(browser)
        answer = browser.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        'decoupled_stage_samples_total{stage="1"} 640.0',
        'decoupled_stage_sent_bytes_total{stage="0"} 5000.0',
        'decoupled_worker_peak_memory_bytes{stage="0"} 1.9e+08',
        'decoupled_worker_busy_ratio{stage="1"} 0.75',
        'decoupled_worker_state{stage="1",state="computing"} 1.0',
        'decoupled_run_state{state="training"} 1.0',
        "decoupled_training_seconds 0.5",
        'decoupled_test_metric{metric="perplexity"} 4.5',
    ):
        assert f"{line}\n" in answer.text


@pytest.mark.parametrize("path", ["/", "/api/now", "/metrics"])
def test_a_page_that_another_name_leads_to_is_not_served(path: str, folder: Path) -> None:
    """As when a site lets its own name point to this host, to read from it what its visitors can."""
    with client(folder) as browser:
        assert browser.get(path, headers={"host": "example.com"}).status_code == 400
        assert browser.get(path, headers={"host": "127.0.0.1:8080"}).status_code == 200


def test_browsers_are_told_to_load_nothing_from_elsewhere(folder: Path) -> None:
    with client(folder) as browser:
        headers = browser.get("/").headers

    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert headers["x-content-type-options"] == "nosniff"


def test_the_buttons_kill_and_pause(folder: Path) -> None:
    faults = list[Fault]()

    with client(folder, faults) as browser:
        assert told(browser)["allows_faults"]
        answers = [browser.post(f"/api/workers/{path}", headers=JSON) for path in ("1/kill", "0/pause")]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert faults == [Fault(kind="kill", stage=1), Fault(kind="stop", stage=0, seconds=5.0)]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("1/kill", {}, 403),
        ("1/kill", {"content-type": "text/plain"}, 403),
        ("1/kill", JSON | {"sec-fetch-site": "cross-site"}, 403),
        ("2/kill", JSON, 409),
        ("-1/kill", JSON, 409),
        ("9" * 5000 + "/kill", JSON, 409),
        ("1/drop", JSON, 404),
    ],
)
def test_what_nobody_may_ask_for_is_refused(path: str, headers: dict[str, str], status: int, folder: Path) -> None:
    faults = list[Fault]()

    with client(folder, faults) as browser:
        told(browser)
        assert browser.post(f"/api/workers/{path}", headers=headers).status_code == status

    assert faults == []


def test_without_leave_nothing_is_broken(folder: Path) -> None:
    with client(folder) as browser:
        told(browser)
        answer = browser.post("/api/workers/1/kill", headers=JSON)

    assert answer.status_code == 403
    assert "--allow-faults" in answer.json()["error"]


def test_nobody_kills_workers_of_a_run_that_is_over(folder: Path) -> None:
    (folder / "report.json").touch()
    faults = list[Fault]()

    with client(folder, faults) as browser:
        assert browser.post("/api/workers/1/kill", headers=JSON).status_code == 409

    assert faults == []


def test_events_are_sent_as_they_happen_and_only_once(folder: Path) -> None:
    """Over the application's own interface, because a test client waits for the end of an answer that has none."""
    follower = Follower(folder)
    app = application(follower, ["127.0.0.1"])
    heard = list[dict[str, Any]]()
    headers = [(b"host", b"127.0.0.1")]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/events",
        "headers": headers,
        "query_string": b"",
        "http_version": "1.1",
    }

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        for line in message.get("body", b"").decode().splitlines():
            if line.startswith("data: "):
                heard.append(json.loads(line.removeprefix("data: ")))

    async def heard_of(count: int) -> None:
        while len(heard) < count:
            await asyncio.sleep(0.01)

    async def listen() -> None:
        while follower.refresh():
            pass
        listening = asyncio.ensure_future(app({**scope, "app": app}, receive, send))
        await heard_of(1)
        go_on(folder, values(0.75, incidents=[lost(0.7)], cell="B9"))
        follower.refresh()
        await heard_of(2)
        listening.cancel()

    asyncio.run(asyncio.wait_for(listen(), 20))

    assert [update["now"]["seconds"] for update in heard] == [0.5, 0.75]
    assert [len(update["events"]) for update in heard] == [0, 1]
    assert [update["cells"]["strips"][0] for update in heard] == ["", "B9" * 50]
