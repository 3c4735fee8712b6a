"""A run in a terminal, however wide it is."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from rich.console import Console

from decoupled.errors import UsageError
from decoupled.watch.follow import Follower
from decoupled.watch.top import Told, picture, show
from tests.watch.moments import begin, evaluation, go_on, lost, values, worker


def drawn(told: Told, width: int = 100) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(picture(told, width))
    return capture.get()


def told(folder: Path) -> Told:
    follower = Follower(folder)
    while follower.refresh():
        pass
    return follower.now()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """That of a run in which stage 1 was lost."""
    folder = begin(tmp_path / "mine")
    workers = [worker(0), worker(1, head_cosine=None, samples_per_s=12345.6)]
    tested = evaluation(1, 5.1, metrics={"perplexity": 4.5})
    go_on(
        folder,
        values(5.0, cell="F9"),
        values(5.25, evaluations=[tested], incidents=[lost(5.2)], workers=workers),
    )
    workers = [worker(0), worker(1, head_cosine=None, samples_per_s=12345.6, state="restarting")]
    go_on(folder, values(5.5, strips=["S5" * 50, "x0" * 50], workers=workers))
    return folder


def test_it_shows_the_run_its_workers_their_time_and_what_happened(folder: Path) -> None:
    text = drawn(told(folder))

    for part in (
        "mine",
        "dni on digits",
        "training",
        "5,500 of 10,000 samples",
        "test 90.00%",
        "perplexity 4.5",
        "3/8",
        "12,346",
    ):
        assert part in text
    for part in ("computing", "restarting", "█", "▅", "xx", "stage 1 lost: its process ended"):
        assert part in text


@pytest.mark.parametrize(("strip", "is_explained"), [("?0" * 100, True), ("F9" * 100, False)])
def test_time_of_which_nothing_was_reported_is_explained(strip: str, is_explained: bool, folder: Path) -> None:
    now = told(folder)
    now["cells"]["strips"] = [strip, "S5" * 100]

    assert ("? not reported" in drawn(now)) == is_explained


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int, folder: Path) -> None:
    assert max(map(len, drawn(told(folder), width).splitlines())) <= width


def test_a_run_that_has_not_begun_is_one_line(tmp_path: Path) -> None:
    assert drawn(told(begin(tmp_path / "mine"))).split() == ["mine", "dni", "on", "digits", "waiting"]


def test_the_newest_run_is_shown_by_default(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    folder.rename(tmp_path / "runs" / "mine")

    show(None)

    assert "mine" in capsys.readouterr().out


class Page(BaseHTTPRequestHandler):
    """A page on another host."""

    said = b""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/now" else 404)
        self.end_headers()
        self.wfile.write(self.said)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def page() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_run_on_another_host_is_asked_of_its_page(folder: Path, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    Page.said = json.dumps(told(folder)).encode()

    show(page + "/")

    assert "test 90.00%" in capsys.readouterr().out


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"run": 1}',
        b'{"run": {}, "state": 1, "now": {"x": 1}, "cells": {}, "events": 3, "evaluations": 2}',
    ],
)
def test_a_page_that_tells_of_no_run_is_one_sentence(said: bytes, page: str) -> None:
    Page.said = said

    with pytest.raises(UsageError, match="does not tell of a run"):
        show(page)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("http://127.0.0.1:1", "Connection refused"),
        ("http://127.0.0.1:abc", "nonnumeric port"),
        ("http://127.0.0.1:1/a b", "control characters"),
        ("http://", "no host given"),
        ("nowhere", "nowhere holds no run"),
        (None, "There is no run in runs/"),
    ],
)
def test_where_there_is_none_it_says_so(run: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError, match=said):
        show(run)


def test_what_a_stranger_says_cannot_steer_the_terminal(folder: Path) -> None:
    evil = told(folder) | {"events": [lost(1.0) | {"detail": "\x1b]0;evil\x07[red]"}], "state": "\x1b[2J"}

    assert "\x1b" not in drawn(evil)
