"""What a person sees of an examination: a finding after the other, as they come."""

from collections.abc import Iterable
from textwrap import wrap

from rich.console import Console
from rich.text import Text

from decoupled.doctor.finding import Finding, State

STYLES: dict[State, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}
TITLE = len("versions there  ")


def show(findings: Iterable[Finding]) -> list[Finding]:
    """Prints the findings, and how many of them want something done; gives them."""
    console, shown = Console(highlight=False, soft_wrap=True), []
    for finding in findings:
        shown.append(finding)
        mark, title = Text(f"{finding.state:<6}", STYLES[finding.state]), f"{finding.title:<{TITLE}}"
        for line in _lines(finding, max(console.width - len(mark) - TITLE, 20)):
            console.print(mark + Text(f"{title}{line}"))
            mark, title = Text(" " * len(mark)), " " * TITLE
    count = {state: sum(finding.state == state for finding in shown) for state in STYLES}
    print(f"{len(shown)} checks: {count['ok']} ok, {count['warn']} to know of, {count['fail']} to mend")
    return shown


def _lines(finding: Finding, width: int) -> list[str]:
    """What was seen and what to do, without anything that a terminal would take for a command: it may come from elsewhere."""
    texts = [finding.seen, *([f"-> {finding.advice}"] if finding.advice else [])]
    plain = ["".join(letter if letter.isprintable() else "?" for letter in text) for text in texts]
    return [line for text in plain for line in wrap(text, width, break_long_words=False, break_on_hyphens=False)]
