"""Every command and every program of README.md and of docs/*.md works as it is written there, and prints what they say."""

import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.datasets import write_cifar10
from tests.e2e.commands import decoupled, environment, free_address, started
from tests.e2e.documents import (
    DOCUMENTS,
    HAS_TORCH,
    blocks,
    commands,
    lines,
    named_files,
    needs_torch,
    shown_after,
    users_own,
    without_numbers,
)

BY_HAND = ("coordinator", "worker", "keys")


def alone(document: str) -> list[list[str]]:
    """Those that run to their end by themselves, in order. What needs a Ray cluster is tried by test_ray."""
    found = [words for words in commands(document) if words[0] not in (*BY_HAND, "bench") and "--launcher" not in words]
    return [words for words in found if HAS_TORCH or not needs_torch(" ".join(words))]


def shortened(words: list[str]) -> list[str]:
    """The same for a test: fewer epochs, workers and seconds, earlier and shorter faults, small data, any free port."""
    short = [re.sub(r"microbatch=(\d+)0\b", r"microbatch=\1", re.sub(r"seconds=\d+", "seconds=1", word)) for word in words]
    short = [word.replace("mnist", "digits") for word in short]
    if short[0] in ("train", "bench") and "--resume" not in short:
        needs_four = "stage=" in " ".join(short)
        short += ["--epochs", "20" if needs_four else "2"]
        if "--model" not in short:  # others have no layers of such widths
            short += ["--hidden", "16,16,16" if needs_four else "16"]
    if short[0] == "simulate" and "--seconds" in short:
        short[short.index("--seconds") + 1] = "5"
    if "cifar10" in short:
        short += ["--data-dir", "."]
    if "--model" in short and "--workers" not in short and "stages=" not in " ".join(short):
        short += ["--workers", "2"]
    if short[0] == "dashboard":
        short += ["--address", "127.0.0.1:0"]
    elif "--dashboard" in short:
        short += ["--dashboard-address", "127.0.0.1:0"]
    return short


def succeeds(words: list[str], folder: Path) -> None:
    done = decoupled(*words, cwd=folder, seconds=200)
    assert done.returncode == 0, (words, done.stderr)


@pytest.mark.slow
@pytest.mark.timeout(600)  # a dozen commands, each with processes of its own
@pytest.mark.parametrize("document", [name for name in DOCUMENTS if alone(name)])
def test_the_commands_work_one_after_another(document: str, tmp_path: Path) -> None:
    for name, content in named_files(document).items():
        (tmp_path / name).write_text(content)
    write_cifar10(tmp_path)
    users_own(tmp_path)
    for words in alone(document):
        for name in re.findall(r"\btext:(\S+)", " ".join(words)):
            (tmp_path / name).write_text("Once upon a time there was a king who had three daughters. " * 60)
        if "--resume" in words:
            cut_short(tmp_path / words[words.index("--resume") + 1], tmp_path)
        if words[0] == "dashboard":
            serves_until_interrupted(shortened(words), tmp_path)
        else:
            succeeds(shortened(words), tmp_path)


def cut_short(run: Path, folder: Path) -> None:
    """Makes of a run, or of a new one, one that can be resumed: without the last file that a run writes."""
    if not run.exists():
        succeeds(["train", "--epochs", "2", "--hidden", "16", "--out", str(run)], folder)
    (run / "report.json").unlink()


def serves_until_interrupted(words: list[str], folder: Path) -> None:
    process = started(*words, cwd=folder)
    assert process.stdout is not None
    said = process.stdout.readline()
    address = re.search(r"http://[\d.]+:\d+", said)
    assert address is not None, (words, said, process.communicate())
    with urllib.request.urlopen(f"{address[0]}/healthz", timeout=10) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)


BENCHES = [words for name in DOCUMENTS for words in commands(name) if words[0] == "bench"]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("words", BENCHES, ids=" ".join)
def test_the_commands_to_measure_work(words: list[str], tmp_path: Path) -> None:
    """One round of two trials: two values of a list, or else two sides."""
    if "--peers" in words:
        pytest.importorskip("torch")
    lists = {"--link-latency-ms", "--link-bandwidth-mbit", "--slow-link", "--straggler", "--drop", "--kill-every-s", "--workers"}
    has_list = bool(lists & set(words))
    short = ["--repeat", "1", "--schedule", "dni" if has_list else "lockstep,dni", "--batch", "64"]
    first_two = [re.sub(r"^((?:\d:)?[\d.]+,[\d.]+),.*", r"\1", word) for word in words]

    done = decoupled(*shortened(first_two), *short, cwd=tmp_path, seconds=240)

    assert done.returncode == 0, done.stderr
    assert "samples/s" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("document", [name for name in DOCUMENTS if {"coordinator", "worker"} <= {w[0] for w in commands(name)}])
def test_the_commands_to_do_it_by_hand_work_together(document: str, tmp_path: Path) -> None:
    """Each host of the document is a folder, and an address of loopback. Where one worker is written, it stands for four.

    Lines whose workers are started by ssh, or by an engine of containers, are tried by tests/docker.
    """
    if not HAS_TORCH and any(needs_torch(" ".join(words)) for words in commands(document) if words[0] == "coordinator"):
        pytest.skip("PyTorch is missing")
    folders = {"127.0.0.1": tmp_path / "one", "127.0.0.2": tmp_path / "two"}
    for folder in folders.values():
        folder.mkdir()
        users_own(folder)
        for name, content in named_files(document).items():
            (folder / name).write_text(content)
    *_, port = free_address().split(":")
    here = [[word.replace("10.0.0.", "127.0.0.").replace("5555", port) for word in words] for words in lines(document)]
    for words in here:
        if words[:2] == ["decoupled", "keys"]:
            succeeds(words[1:], folders["127.0.0.1"])
        if words[0] == "scp":
            for name in words[2:-1]:
                shutil.copytree(folders["127.0.0.1"] / name, folders[words[-1].rstrip(":")] / Path(name).name)

    main = next(words[1:] for words in here if words[:2] == ["decoupled", "coordinator"])
    coordinator = started(*main, cwd=folders["127.0.0.1"])
    written = [words[1:] for words in here if words[:2] == ["decoupled", "worker"]]
    workers = [
        started(*words, cwd=folders["127.0.0.2" if words[-1] == "127.0.0.2" else "127.0.0.1"]) for words in (written * 4)[:4]
    ]

    for process in (coordinator, *workers):
        _, said = process.communicate(timeout=100)
        assert process.returncode == 0, said


PROGRAMS = [
    pytest.param(name, program, id=f"{name} {i}")
    for name in DOCUMENTS
    for i, program in enumerate(blocks(name, "python"))
    if program not in named_files(name).values() or program.startswith("# train.py")
]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("document", "program"), PROGRAMS)
def test_the_program_runs_and_prints_what_is_shown(document: str, program: str, tmp_path: Path) -> None:
    """What is shown is the block of text after it, if there is one; numbers may be others."""
    used = [content for name, content in named_files(document).items() if name.removesuffix(".py") in program]
    if not HAS_TORCH and any(map(needs_torch, [program, *used])):
        pytest.skip("PyTorch is missing")
    for name, content in named_files(document).items():
        (tmp_path / name).write_text(content)
    script = tmp_path / "program.py"
    script.write_text(program)
    one_thread = {**environment(), "OPENBLAS_NUM_THREADS": "1"}  # more only wait for the tests beside this one

    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=one_thread, capture_output=True, text=True, timeout=200, check=False
    )

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 2
    shown = shown_after(program)
    assert shown is None or without_numbers(shown) == without_numbers(done.stdout)
