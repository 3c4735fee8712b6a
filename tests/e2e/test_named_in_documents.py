"""What README.md and docs/*.md name exists, and what they draw is what the commands draw."""

import re
import shlex
from pathlib import Path

from decoupled.config import Run
from tests.e2e.commands import in_process
from tests.e2e.documents import DOCUMENTS, ROOT, blocks, lines, shown_after
from tests.reference import is_section, reference

ELSEWHERE = ("source", "scp", "ssh", "pip", "docker", "docker-compose", "kubectl", "ray")  # first words of others' commands


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
