"""Every command and every program of README.md and of docs/*.md works as it is written there, and prints what they say."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from decoupled.config import Run
from tests.datasets import write_cifar10
from tests.e2e.commands import decoupled, environment, free_address, in_process, started
from tests.reference import is_section, reference

ROOT = Path(__file__).parents[2]
DOCUMENTS = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
ELSEWHERE = ("source", "scp", "ssh", "pip", "docker", "docker-compose", "kubectl", "ray")  # first words of others' commands
BY_HAND = ("coordinator", "worker", "keys")


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENTS[document], re.DOTALL | re.MULTILINE)


def named_files(document: str) -> dict[str, str]:
    """The programs whose first line is the name of a file that the document's commands use."""
    named = ((re.match(r"# (\w+\.py)\n", block), block) for block in blocks(document, "python"))
    return {match[1]: block for match, block in named if match is not None}


def lines(document: str) -> list[list[str]]:
    """The words of each line to type, without comments."""
    found = [shlex.split(line, comments=True) for block in blocks(document, "sh") for line in block.splitlines()]
    return [words for words in found if words]


def commands(document: str) -> list[list[str]]:
    """The words after each `decoupled`; not of those above tables, which are scripts/figures'."""
    return [words[1:] for words in lines(document) if words[0] == "decoupled" and "runs/figures" not in " ".join(words)]


HAS_TORCH = find_spec("torch") is not None


def needs_torch(text: str) -> bool:
    """What PyTorch's models are trained with, or used."""
    return bool(re.search(r"--model |\btorch\b|runs/(mine --code|text|gpt|images)|my_inputs", text))


def users_own(folder: Path) -> None:
    """The data that the documents' commands call the user's own."""
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    samples = {"my_data.npz": rng.standard_normal((60, 20)), "my_images.npz": rng.integers(0, 256, (60, 3, 32, 32), np.uint8)}
    for name, x in samples.items():
        np.savez(folder / name, x_train=x[:40], y_train=labels[:40], x_test=x[40:], y_test=labels[40:])
    np.save(folder / "my_inputs.npy", samples["my_data.npz"])


def alone(document: str) -> list[list[str]]:
    """Those that run to their end by themselves, in order. What needs a Ray cluster is tried by test_ray."""
    found = [words for words in commands(document) if words[0] not in (*BY_HAND, "bench") and "--launcher" not in words]
    return [words for words in found if HAS_TORCH or not needs_torch(" ".join(words))]


def shortened(words: list[str]) -> list[str]:
    """The same for a test: fewer epochs and workers, earlier and shorter faults, small data, any free port."""
    short = [re.sub(r"microbatch=(\d+)0\b", r"microbatch=\1", re.sub(r"seconds=\d+", "seconds=1", word)) for word in words]
    short = [word.replace("mnist", "digits") for word in short]
    if short[0] in ("train", "bench") and "--resume" not in short:
        needs_four = "stage=" in " ".join(short)
        short += ["--epochs", "20" if needs_four else "2"]
        if "--model" not in short:  # others have no layers of such widths
            short += ["--hidden", "16,16,16" if needs_four else "16"]
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
    has_list = bool({"--link-latency-ms", "--link-bandwidth-mbit", "--straggler", "--drop", "--workers"} & set(words))
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


def shown_after(block: str) -> str | None:
    after = re.compile(re.escape(f"{block}```\n\n```text\n") + r"(.*?)^```", re.DOTALL | re.MULTILINE)
    found = [match for text in DOCUMENTS.values() if (match := after.search(text))]
    return found[0][1] if found else None


def without_numbers(text: str) -> list[list[str]]:
    return [re.sub(r"-?\d+(\.\d+)?", "#", line).split() for line in text.splitlines()]


def test_drawn_timelines_are_what_the_command_draws(tmp_path: Path) -> None:
    simulations = [block for name in DOCUMENTS for block in blocks(name, "sh") if block.startswith("decoupled simulate")]
    shown = {block: text for block in simulations if (text := shown_after(block)) is not None}
    assert len(shown) >= 4

    for block, text in shown.items():
        assert drawn(shlex.split(block)[1:], 80, tmp_path) == text

    for words in ("simulate --schedule lockstep --microbatches 4", "simulate --microbatches 12"):  # side by side in the README
        assert f"`decoupled {words}`" in DOCUMENTS["README.md"]
        for row in drawn(words.split(), 60, tmp_path).splitlines()[1:5]:
            assert row in DOCUMENTS["README.md"]


def drawn(words: list[str], columns: int, folder: Path) -> str:
    return in_process(*words, cwd=folder, columns=columns).stdout


def test_the_page_of_commands_is_made_from_the_code() -> None:
    assert DOCUMENTS["cli.md"] == reference(), "commands or settings have changed: run scripts/cli-docs"


def test_every_option_says_what_it_does() -> None:
    meanings = re.findall(r"^\| `(--[^`]*)` \| (.*?) \|", reference(), re.MULTILINE)
    assert len(meanings) > 60
    assert not [option for option, meaning in meanings if not meaning.strip()]


def test_every_line_to_type_is_known() -> None:
    for name in DOCUMENTS:
        for line in lines(name):
            words = [word for word in line if not re.match(r"[A-Z_]+=", word)]  # variables for the command come first
            assert words[0] in ("decoupled", *ELSEWHERE) or (ROOT / words[0]).is_relative_to(ROOT / "scripts"), (name, words)


def test_the_scripts_exist_and_are_short() -> None:
    named = {name for text in DOCUMENTS.values() for name in re.findall(r"scripts/([\w-]+)", text)}
    assert named >= {"demo", "test", "setup", "figures", "launch", "chaos", "cli-docs"}

    for name in named:
        script = ROOT / "scripts" / name
        assert script.stat().st_mode & 0o111, f"{script} cannot be run"
        assert len(script.read_text().splitlines()) <= 25


def test_scripts_and_documents_name_only_options_that_exist() -> None:
    texts = [*DOCUMENTS.values(), *(path.read_text() for path in (ROOT / "scripts").iterdir())]
    own = "".join((ROOT / path).read_text() for path in ("tests/chaos.py", "tests/throughput.py", "tests/conftest.py"))
    known = set(re.findall(r"--[a-z]+(?:-[a-z]+)*", reference() + own)) | {"--help", "--torch"}
    foreign = "--quiet --disable --editable --check --no --logdir --wheel-dir --index-url "  # of pip, ruff, pytest and so on
    foreign += (
        "--detach --scale --follow --rm --entrypoint --network --target --tag --namespace --current --from-file "  # engines'
    )
    foreign += "--head --node-ip --include-dashboard"  # of ray start

    for option in set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", "".join(texts))):
        assert option in known or option.startswith(tuple(foreign.split())), option


def test_documents_name_only_settings_that_exist() -> None:
    sections = {name: field.annotation for name, field in Run.model_fields.items() if is_section(field)}
    named = {found for text in DOCUMENTS.values() for found in re.findall(rf"[`' ]({'|'.join(sections)})\.(\w+)[`=]", text)}
    assert len(named) > 20

    for section, key in named:
        assert key in getattr(sections[section], "model_fields"), f"{section}.{key}"  # noqa: B009


def test_the_tests_and_pages_that_documents_name_exist() -> None:
    for name, text in DOCUMENTS.items():
        folder = ROOT if name == "README.md" else ROOT / "docs"
        for path in re.findall(r"\btests/[\w/.]*\w", text):
            assert (ROOT / path).exists(), f"{name} names {path}"
        for page, place in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", text):
            target = folder / (page or name)
            assert target.exists(), f"{name} names {page}"
            assert not place or place in places(target), f"{name} names {page}#{place}"


def places(page: Path) -> set[str]:
    """What a page's headings are called in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
