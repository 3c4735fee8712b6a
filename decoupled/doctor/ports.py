"""Ports of this machine: whether one is free, and who has it, as far as the system tells this user."""

import os
import socket
from contextlib import suppress
from pathlib import Path

LISTENS = "0A"


def problem(host: str, port: int) -> str:
    """Why nothing could listen there, or ""."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        return os.strerror(error.errno or 0).lower()
    return ""


def holder(port: int) -> str:
    """The process that listens on the port, or "" when it belongs to another user or cannot be known."""
    sockets = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listening(Path("/proc/net") / table, port)}
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        with suppress(OSError):
            if any(os.readlink(file) in sockets for file in (process / "fd").iterdir()):
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                return f"process {process.name} ({' '.join(words).strip()[:60]})"
    return ""


def _listening(table: Path, port: int) -> list[str]:
    """The inodes of the sockets that listen on the port: of each row the local address, the state and the inode."""
    with suppress(OSError):
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
        return [row[9] for row in rows if row[3] == LISTENS and int(row[1].rpartition(":")[2], 16) == port]
    return []
