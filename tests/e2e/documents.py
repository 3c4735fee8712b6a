"""README.md and docs/*.md: the commands and programs in them, and what they need to be run."""

import re
import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
DOCUMENTS = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}


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
    """The data that the documents' commands call the user's own, and the networks that they name."""
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    samples = {"my_data.npz": rng.standard_normal((60, 20)), "my_images.npz": rng.integers(0, 256, (60, 3, 32, 32), np.uint8)}
    for name, x in samples.items():
        np.savez(folder / name, x_train=x[:40], y_train=labels[:40], x_test=x[40:], y_test=labels[40:])
    np.save(folder / "my_inputs.npy", samples["my_data.npz"])
    shutil.copytree(ROOT / "docs" / "networks", folder / "docs" / "networks")


def shown_after(block: str) -> str | None:
    after = re.compile(re.escape(f"{block}```\n\n```text\n") + r"(.*?)^```", re.DOTALL | re.MULTILINE)
    found = [match for text in DOCUMENTS.values() if (match := after.search(text))]
    return found[0][1] if found else None


def without_numbers(text: str) -> list[list[str]]:
    return [re.sub(r"-?\d+(\.\d+)?", "#", line).split() for line in text.splitlines()]
