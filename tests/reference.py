"""docs/cli.md, made from the code: every command with its options, and every setting of a run. scripts/cli-docs writes it."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer
from pydantic import BaseModel

from decoupled.cli.commands import app
from decoupled.cli.options import run_options
from decoupled.config import Run

START = """\
# Commands

Made from the code by `scripts/cli-docs`; a test checks that nothing has changed since. `decoupled COMMAND --help` says the same.
An option without a default is left out unless it is given.

A command that fails says why in one sentence on standard error. Its exit code says what kind of failure it is:

| exit code | meaning |
| --- | --- |
| 0 | Done. |
| 1 | The run could not go on, or a file could not be written; of `doctor`: something fails. |
| 2 | An option, a setting or a file cannot be used as it was given. |
| 3 | The run diverged: its loss, or its weights, were no numbers any more. |
| 130, 143 | Ctrl-C; SIGTERM or SIGHUP. |
"""

OF_A_RUN = """\
## Options of a run

`plan`, `train`, `coordinator` and `bench` have all of these, unless one is listed there with another meaning. They go over the
file given with `--config`, and `--set` goes over them.
"""

SETTINGS = """\
## Settings of a run

What `--config` and `--set` can say, by section; `run.toml` in a run's folder has them all. Above a section's name are those that
belong to none. `None` stands for a choice that is made when the run begins.
"""


def reference() -> str:
    """The whole page."""
    main = typer.main.get_command(app)
    shared = [row for p in parameters(commands(main)["train"]) if p.name in run_names() and (row := described(p))]
    parts = [START, *table(main), *(part for name, one in walk(main) for part in chapter(name, one, shared))]
    return "\n".join([*parts, OF_A_RUN, *rows(shared), SETTINGS, *sections()]).rstrip() + "\n"


def commands(group: Any) -> dict[str, Any]:
    return dict(getattr(group, "commands", {}))


def walk(group: Any, before: str = "decoupled") -> Iterator[tuple[str, Any]]:
    """Every command by its whole name, in the order of --help; a group's own after it."""
    for name, one in commands(group).items():
        if not commands(one):
            yield f"{before} {name}", one
        yield from walk(one, f"{before} {name}")


def table(main: Any) -> list[str]:
    """All commands, a line each."""
    lines = [f"| [`{name}`](#{name.replace(' ', '-')}) | {sentences(one.help)} |" for name, one in walk(main)]
    version = next(row for p in parameters(main) if p.name == "version" and (row := described(p)))
    return ["| command | what it does |", "| --- | --- |", *lines, f"| `decoupled {version[0].strip('`')}` | {version[1]} |", ""]


def chapter(name: str, one: Any, shared: list[tuple[str, str, str]]) -> list[str]:
    """One command: how to call it, what it does, and the options that are its own."""
    described_ones = [row for p in parameters(one) if (row := described(p))]
    own = [row for row in described_ones if row not in shared]
    arguments = [p.metavar for p in parameters(one) if p.param_type_name == "argument"]
    required = [f"{p.opts[0]} {placeholder(p)}" for p in parameters(one) if p.param_type_name == "option" and p.required]
    also = ["And the [options of a run](#options-of-a-run).", ""] if len(own) < len(described_ones) else []
    usage = " ".join([name, *arguments, *required, "[OPTIONS]"])
    return [f"## {name}", "", sentences(one.help), "", f"    {usage}", "", *rows(own), *also]


def parameters(one: Any) -> list[Any]:
    return [p for p in one.params if not getattr(p, "hidden", False)]


def run_names() -> set[str]:
    return set(inspect.signature(run_options).parameters) - {"base"}


def described(p: Any) -> tuple[str, str, str]:
    """An option or argument as the cells of a row."""
    if p.param_type_name == "argument":
        return f"`{p.metavar}`", p.help or "", ""
    flag = "" if p.is_flag else f" {placeholder(p)}"
    default = "required" if p.required else "" if p.is_flag or p.default is None else f"`{p.default}`"
    return f"`{', '.join(p.opts)}{flag}`", p.help or "", default


def placeholder(p: Any) -> str:
    return str(p.metavar or p.name.upper())


def rows(cells: list[tuple[str, str, str]]) -> list[str]:
    if not cells:
        return []
    return ["| option | meaning | default |", "| --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in cells), ""]


def sections() -> list[str]:
    """The fields of a run and of each of its sections, with what the source says beside them."""
    models = {"": Run} | {name: field.annotation for name, field in Run.model_fields.items() if is_section(field)}
    return [line for name, model in models.items() for line in section(name, model)]


def is_section(field: Any) -> bool:
    return inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel)


def section(name: str, model: Any) -> list[str]:
    beside = dict(re.findall(r"^    (\w+): .*?  # (.*)$", inspect.getsource(model), re.MULTILINE))
    lines = [
        f"| `{name + '.' if name else ''}{key}` | {kind(field)} | `{field.default}` | {beside.get(key, '')} |"
        for key, field in model.model_fields.items()
        if not is_section(field)
    ]
    title = [f"### {name}", "", model.__doc__, ""] if name else []
    return [*title, "| setting | values | default | |", "| --- | --- | --- | --- |", *lines, ""]


def kind(field: Any) -> str:
    """A type as a person would write it."""
    text = f"{field.annotation} {field.metadata}".replace("<class 'str'>", "")
    if choices := re.findall(r"'([\w-]+)'", text):
        return ", ".join(choices) + (", or a reference" if "Registry" in text else "")
    plain = {"bool": "true or false", "int": "whole number", "float": "number", "tuple": "list", "str": "text", "dict": "table"}
    plain |= {"Any": "text, or a reference"}  # in Python also arrays and sources
    return next(words for name, words in plain.items() if re.search(rf"\b{name}\b", str(field.annotation).split("[")[0]))


def sentences(text: str | None) -> str:
    return " ".join((text or "").split())


if __name__ == "__main__":
    print(reference(), end="")
