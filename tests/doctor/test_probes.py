"""What is measured of this very machine, and of addresses of every kind."""

import os
import socket
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from decoupled.doctor import ports, probes
from decoupled.transport.zeromq import ZeroMQ


def test_a_port_in_use_is_found_with_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert ports.problem("127.0.0.1", port) == "address already in use"
        assert ports.holder(port).startswith(f"process {os.getpid()} (")
    assert ports.problem("127.0.0.1", port) == ""
    assert ports.holder(port) == ""


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:*", "ipc"])
def test_an_inbox_can_be_reached(address: str, tmp_path: Path) -> None:
    with closing(ZeroMQ()) as transport:
        where = transport.bind(address if address != "ipc" else f"ipc://{tmp_path}/inbox")

        assert probes.reach(where) == "open"
    assert probes.reach(where) == "shut"


def test_what_says_nothing_or_something_else_is_mute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        assert probes.reach(where) == "mute"


def test_what_swallows_connections_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a firewall does, and a listener whose queue is full."""
    monkeypatch.setattr(probes, "CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as callers:
        for _ in range(4):
            caller = callers.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())

        assert probes.reach(f"tcp://127.0.0.1:{listener.getsockname()[1]}") == "silent"


def test_where_no_temporary_file_can_be_made_its_folder_has_a_name_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setenv("TMPDIR", "/missing")

    assert probes.temp_folder() == "/missing"


def test_an_address_without_a_route_is_far() -> None:
    assert probes.reach("tcp://255.255.255.255:5555") == "far"


def test_folders_are_tried(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    assert probes.socket_problem(str(tmp_path)) == ""
    assert probes.socket_problem(str(tmp_path / "missing")) == "no such file or directory"
    assert probes.socket_problem(str(tmp_path / ("x" * 90))) != ""
    assert probes.folder_problem(tmp_path / "runs" / "mine") == ""
    assert probes.folder_problem(file / "runs") == f"{file} cannot be written"
    assert probes.free(tmp_path / "runs") > 0
    assert list(tmp_path.iterdir()) == [file], "nothing is left"


def test_names_stand_for_numbers() -> None:
    assert probes.numbers("localhost", socket.AF_INET) == ["127.0.0.1"]
    assert probes.numbers("nobody.invalid") == []
    assert probes.numbers("x" * 70 + ".invalid") == []
    assert probes.outward("127.0.0.1") == "127.0.0.1"


def test_the_machine_can_be_measured() -> None:
    folder, compiled = probes.kernels()

    assert folder is None or folder.is_dir()
    assert compiled >= 0
    assert probes.available_memory() > 0
    assert probes.open_files()[0] > 0
    assert [threads > 0 for _, threads in probes.pools()]
