"""Watching real runs: the page's process, the terminal, event files. The page itself is in test_page.py."""

import json
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import until
from tests.e2e.commands import ENDLESS, decoupled, gone, is_one_sentence, read_until, started


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str = "/api/now") -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return json.loads(answer.read())


def post(port: int, path: str) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", b"{}", {"content-type": "application/json"}, method="POST")
    with urllib.request.urlopen(request, timeout=5) as answer:
        return int(answer.status)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def watched(port: int, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A training command that serves its page, with buttons, in the middle of its work."""
    page = ["--dashboard", "--dashboard-address", f"127.0.0.1:{port}", "--allow-faults"]
    process = started("train", *ENDLESS, *page, "--out", "run", cwd=tmp_path)
    read_until(process, "loss")
    yield process
    process.kill()
    process.communicate()


def test_the_page_follows_the_run_and_ends_with_it(watched: "subprocess.Popen[str]", port: int) -> None:
    until("records", lambda: get(port)["number"] > 2)
    family = psutil.Process(watched.pid).children(recursive=True)
    assert len(family) == 5, "four workers and the page"

    watched.send_signal(signal.SIGINT)
    _, said = watched.communicate(timeout=10)

    assert watched.returncode == 130
    assert is_one_sentence(said, "Interrupted"), said
    assert gone(family)


def test_the_page_ends_with_a_run_that_is_killed(watched: "subprocess.Popen[str]", port: int) -> None:
    until("records", lambda: get(port)["number"] > 0)
    family = psutil.Process(watched.pid).children(recursive=True)

    watched.kill()

    until("all to end", lambda: gone(family))


def test_buttons_kill_a_worker_which_is_replaced_and_pause_one_which_is_not(watched: "subprocess.Popen[str]", port: int) -> None:
    until("records", lambda: get(port)["number"] > 0)

    assert post(port, "/api/workers/1/kill") == 202
    until("the successor", lambda: "rejoined" in [event["what"] for event in get(port)["events"]])
    assert post(port, "/api/workers/2/pause") == 202
    until("it to be back", lambda: "back" in [event["what"] for event in get(port)["events"]])

    struck = [(event["what"], event["stage"]) for event in get(port)["events"] if event["what"] in ("lost", "rejoined", "back")]
    assert struck == [("lost", 1), ("rejoined", 1), ("back", 2)]


def test_a_run_goes_on_when_its_page_is_killed(watched: "subprocess.Popen[str]", port: int, tmp_path: Path) -> None:
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
        done = decoupled("train", "--dashboard", "--dashboard-address", address, "--out", "run", cwd=tmp_path)

    assert done.returncode == 2
    assert done.stderr == f"error: The page cannot be served at {address}: Address already in use. Choose another port.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--allow-faults"], "--dashboard"),
        (["--dashboard", "--dashboard-address", "8080"], "8080 is no address"),
        (["--dashboard", "--dashboard-address", "127.0.0.1:http"], "127.0.0.1:http is no address"),
        (["--dashboard", "--dashboard-address", "nowhere.invalid:80"], "is no address"),
        (["--dashboard", "--dashboard-address", "0.0.0.0:0"], "add --insecure"),
        (["--dashboard", "--dashboard-address", "0.0.0.0:0", "--insecure", "--allow-faults"], "could kill workers"),
    ],
)
def test_a_page_that_cannot_be_served_is_one_sentence(options: list[str], said: str, tmp_path: Path) -> None:
    done = decoupled("train", *options, "--out", "run", cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr), done.stderr
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_others_may_see_is_warned_of(tmp_path: Path) -> None:
    page = ["--dashboard", "--dashboard-address", "0.0.0.0:0", "--insecure"]

    done = decoupled("train", "--epochs", "1", *page, "--out", "run", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stderr == "warning: anyone who reaches 0.0.0.0:0 can watch the run.\n"


def test_a_finished_run_is_shown_until_it_is_interrupted(port: int, tmp_path: Path) -> None:
    trained = decoupled("train", "--epochs", "3", "--hidden", "16", "--tensorboard", "--out", "run", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    page = started("dashboard", "run", "--address", f"127.0.0.1:{port}", cwd=tmp_path)
    read_until(page, f"http://127.0.0.1:{port}")

    until("the story", lambda: get(port, "/api/story")["number"] > 0)
    story = get(port, "/api/story")
    shown = decoupled("top", "run", cwd=tmp_path)
    asked = decoupled("top", f"http://127.0.0.1:{port}", cwd=tmp_path)
    page.send_signal(signal.SIGINT)
    _, said = page.communicate(timeout=10)

    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (story["state"], story["report"]["test_accuracy"]) == ("finished", report["test_accuracy"])
    assert story["now"]["samples"] == story["now"]["samples_total"]
    assert f"test {report['test_accuracy']:.2%}" in shown.stdout
    assert asked.stdout == shown.stdout
    assert page.returncode == 130
    assert is_one_sentence(said, "Interrupted"), said
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert events.stat().st_size > 100


@pytest.mark.parametrize("command", [["dashboard", "nowhere"], ["top", "nowhere"], ["top"]])
def test_where_there_is_no_run_it_says_so(command: list[str], tmp_path: Path) -> None:
    done = decoupled(*command, cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr), done.stderr
