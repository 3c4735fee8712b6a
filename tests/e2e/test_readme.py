"""Every command and every program of the README works as it is written there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.commands import decoupled, environment, started

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    """The words of each `decoupled ...` line, comments and quotes removed; not those above tables, which are scripts/figures'."""
    lines = [line.split("#")[0].replace("'", "").split() for block in blocks("sh") for line in block.splitlines()]
    return [words[1:] for words in lines if words and words[0] == "decoupled" and "runs/figures" not in " ".join(words)]


def test_the_commands_to_use_it_work_one_after_another(tmp_path: Path) -> None:
    alone = [words for words in commands() if words[0] not in ("coordinator", "worker", "bench")]
    assert {words[0] for words in alone} >= {"train", "eval", "export", "compare", "trace", "simulate"}

    for words in alone:
        if "--resume" in words:  # which is for a run that was cut short: one without the last file that it writes
            (tmp_path / words[-1] / "report.json").unlink()
        done = decoupled(*words, cwd=tmp_path)
        assert done.returncode == 0, (words, done.stderr)


@pytest.mark.parametrize("words", [words for words in commands() if words[0] == "bench"], ids=" ".join)
def test_the_commands_to_measure_work(words: list[str], tmp_path: Path) -> None:
    """Shortened: small data, one round, two sides, two values of each list."""
    short = ["--epochs", "2", "--repeat", "1", "--schedule", "lockstep,dni", "--hidden", "16,16,16", "--batch", "64"]
    first_two = [re.sub(r"^((?:\d:)?[\d.]+,[\d.]+),.*", r"\1", word).replace("mnist", "digits") for word in words]

    done = decoupled(*first_two, *short, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "samples/s" in done.stdout


def test_the_commands_to_do_it_by_hand_work_together(tmp_path: Path) -> None:
    coordinator, worker = (next(words for words in commands() if words[0] == name) for name in ("coordinator", "worker"))

    main = started(*coordinator, cwd=tmp_path)
    workers = [started(*worker, cwd=tmp_path) for _ in range(4)]
    _, said = main.communicate(timeout=60)

    assert main.returncode == 0, said
    for process in workers:
        _, said = process.communicate(timeout=10)
        assert process.returncode == 0, said


@pytest.mark.parametrize("program", blocks("python"))
def test_the_program_runs(program: str, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(program)

    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 2


def test_the_two_commands_and_the_other_scripts_exist_and_are_short() -> None:
    named = set(re.findall(r"scripts/(\w+)", README)) | {"figures", "launch"}

    for name in named:
        script = ROOT / "scripts" / name
        assert script.stat().st_mode & 0o111, f"{script} cannot be run"
        assert len(script.read_text().splitlines()) <= 25


def test_scripts_and_documents_name_only_options_that_exist(tmp_path: Path) -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "scripts").iterdir()]
    text = "".join(path.read_text() for path in documents)
    known = "".join(
        decoupled(*name.split(), "--help", cwd=tmp_path).stdout
        for name in ("train", "coordinator", "worker", "keys make", "predict", "export", "bench", "trace", "simulate")
    )
    known += (ROOT / "tests" / "chaos.py").read_text()

    foreign = {"--quiet", "--disable", "--editable", "--check", "--no"}  # of pip, ruff and import-linter
    for option in set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", text)):
        assert option in known or any(option.startswith(start) for start in foreign), option


def test_the_tests_and_pages_that_documents_name_exist() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = document.read_text()
        named = re.findall(r"\btests/[\w/.]*\w", text) + [
            f"{document.parent}/{link}" for link in re.findall(r"\]\(([^)#:]+)\)", text)
        ]
        for name in named:
            assert (ROOT / name).exists(), f"{document.name} names {name}"
