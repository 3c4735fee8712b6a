"""Watching real runs: the page's process, the terminal, event files. The page itself is in test_page.py."""

import json
import re
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import until
from tests.e2e.commands import ENDLESS, decoupled, gone, in_process, is_one_sentence, read_until, started

ANY_PORT = ["--dashboard", "--dashboard-address", "127.0.0.1:0"]


def get(url: str, path: str = "/api/now") -> Any:
    with urllib.request.urlopen(f"{url}{path}", timeout=5) as answer:
        return json.loads(answer.read())


def post(url: str, path: str) -> int:
    request = urllib.request.Request(f"{url}{path}", b"{}", {"content-type": "application/json"}, method="POST")
    with urllib.request.urlopen(request, timeout=5) as answer:
        return int(answer.status)


def address_in(said: str) -> str:
    found = re.search(r"http://\S+:\d+", said)
    assert found is not None, said
    return found[0]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A training command that serves its page, with buttons."""
    process = started("train", *ENDLESS, *ANY_PORT, "--allow-faults", "--out", "run", cwd=tmp_path)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def url(watched: "subprocess.Popen[str]") -> str:
    """The page's address, once the run has begun."""
    url = address_in(read_until(watched, "http://"))
    read_until(watched, "loss")
    until("records", lambda: get(url)["number"] > 0)
    return url


def test_the_page_follows_the_run_and_ends_with_it(watched: "subprocess.Popen[str]", url: str, tmp_path: Path) -> None:
    family = psutil.Process(watched.pid).children(recursive=True)
    assert len(family) == 5, "four workers and the page"

    with urllib.request.urlopen(f"{url}/api/events", timeout=10) as stream:
        watched.send_signal(signal.SIGINT)
        _, said = watched.communicate(timeout=10)
        news = stream.read()  # raises where the stream is cut off and not ended

    assert watched.returncode == 130
    assert is_one_sentence(said, "Interrupted"), said
    assert gone(family)
    assert news.startswith(b"event: now")
    shown = in_process("top", "run", cwd=tmp_path)
    assert "interrupted: by Ctrl-C" in shown.stdout


@pytest.mark.slow
def test_the_page_ends_with_a_run_that_is_killed(watched: "subprocess.Popen[str]", url: str) -> None:
    family = psutil.Process(watched.pid).children(recursive=True)

    watched.kill()

    until("all to end", lambda: gone(family))


@pytest.mark.slow
def test_buttons_kill_a_worker_which_is_replaced_and_pause_one_which_is_not(watched: "subprocess.Popen[str]", url: str) -> None:
    assert post(url, "/api/workers/1/kill") == 202
    until("the successor", lambda: "rejoined" in [event["what"] for event in get(url)["events"]])
    assert post(url, "/api/workers/2/pause") == 202
    until("it to be back", lambda: "back" in [event["what"] for event in get(url)["events"]])

    events = [(event["what"], event["stage"]) for event in get(url, "/api/run")["events"]]
    assert {("lost", 1), ("rejoined", 1), ("silent", 2), ("back", 2)} <= set(events)
    assert ("lost", 2) not in events


@pytest.mark.slow
def test_a_run_goes_on_when_its_page_is_killed(watched: "subprocess.Popen[str]", url: str, tmp_path: Path) -> None:
    (page,) = [one for one in psutil.Process(watched.pid).children() if "dashboard" in one.cmdline()]
    records = tmp_path / "run" / "metrics.jsonl"
    page.kill()
    so_far = records.stat().st_size

    until("more records", lambda: records.stat().st_size > so_far)
    watched.send_signal(signal.SIGINT)
    watched.communicate(timeout=10)

    assert watched.returncode == 130


def test_a_port_that_is_taken_is_said_before_anything_is_begun(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = in_process("train", "--dashboard", "--dashboard-address", address, "--out", "run", cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr), done.stderr
    assert f"{address}: Address already in use" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--allow-faults"], "--dashboard"),
        ([*ANY_PORT, "--allow-faults", "--schedule", "single"], "no workers to break"),
        (["--dashboard", "--dashboard-address", "8080"], "8080 is no address"),
        (["--dashboard", "--dashboard-address", "127.0.0.1:http"], "127.0.0.1:http is no address"),
        (["--dashboard", "--dashboard-address", "127.0.0.1:*"], "127.0.0.1:* is no address"),
        (["--dashboard", "--dashboard-address", "127.0.0.1:99999"], "is no address"),
        (["--dashboard", "--dashboard-address", "nowhere.invalid:80"], "is no address"),
        (["--dashboard", "--dashboard-address", "0.0.0.0:0"], "add --insecure"),
        (["--dashboard", "--dashboard-address", "0.0.0.0:0", "--insecure", "--allow-faults"], "could kill workers"),
    ],
)
def test_a_page_that_cannot_be_served_is_one_sentence(options: list[str], said: str, tmp_path: Path) -> None:
    done = in_process("train", *options, "--out", "run", cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr), done.stderr
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_page_that_others_may_see_is_warned_of(tmp_path: Path) -> None:
    page = ["--dashboard", "--dashboard-address", "0.0.0.0:0", "--insecure"]

    done = decoupled("train", "--epochs", "1", *page, "--out", "run", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert is_one_sentence(done.stderr, "warning: "), done.stderr
    assert "0.0.0.0:0" in done.stderr


@pytest.mark.parametrize(
    "address", ["127.0.0.1:0", *(pytest.param(other, marks=pytest.mark.slow) for other in ("[::1]:0", "localhost:0"))]
)
def test_a_finished_run_is_shown_until_it_is_interrupted(address: str, finished: Path) -> None:
    page = started("dashboard", finished.name, "--address", address, cwd=finished.parent)
    url = address_in(read_until(page, "http://"))

    until("the end of the history", lambda: get(url, "/api/run")["state"] == "finished")
    history = get(url, "/api/run")
    shown, asked = (in_process("top", run, cwd=finished.parent) for run in (finished.name, url))
    with urllib.request.urlopen(f"{url}/api/events", timeout=5) as stream:
        assert stream.readline() == b"event: now\r\n"
        page.send_signal(signal.SIGINT)
        _, said = page.communicate(timeout=10)

    report = json.loads((finished / "report.json").read_text())
    assert history["report"]["test_accuracy"] == report["test_accuracy"]
    assert history["now"]["samples"] == history["now"]["samples_total"]
    assert f"test {report['test_accuracy']:.2%}" in shown.stdout
    assert asked.stdout == shown.stdout
    assert (page.returncode, said) == (0, "")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, with event files."""
    folder = tmp_path_factory.mktemp("finished")
    done = decoupled("train", "--epochs", "3", "--hidden", "16", "--tensorboard", "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_event_files_are_in_the_runs_folder(finished: Path) -> None:
    (events,) = (finished / "tensorboard").iterdir()
    assert events.stat().st_size > 100


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.3])
def test_a_page_that_is_not_served_yet_ends_with_the_run_that_is_interrupted(seconds: float, tmp_path: Path) -> None:
    process = started("train", *ENDLESS, *ANY_PORT, "--out", "run", cwd=tmp_path)
    until("the child", lambda: psutil.Process(process.pid).children())
    family = psutil.Process(process.pid).children()
    threading.Event().wait(seconds)

    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)

    assert process.returncode == 130
    assert is_one_sentence(said, "Interrupted"), said
    assert gone(family)


@pytest.mark.parametrize("command", [["dashboard", "nowhere"], ["top", "nowhere"], ["top"]])
def test_where_there_is_no_run_it_says_so(command: list[str], tmp_path: Path) -> None:
    done = in_process(*command, cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr), done.stderr
