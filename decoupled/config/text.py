"""A run in words: its values from TOML, from `section.key=value` and from `kill:stage=2`, and back to TOML, whole."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from decoupled.config.run import Run
from decoupled.errors import UsageError


def from_toml(path: Path) -> dict[str, Any]:
    """The values in a TOML file, unchecked. Raises UsageError when it cannot be read as TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read as a run: {error}.") from None


def assignments(settings: list[str]) -> dict[str, Any]:
    """Values given as `section.key=value`, each value in TOML or as bare text. Raises UsageError for another form."""
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--set takes section.key=value, not {setting!r}.")
        *sections, key = name.strip().split(".")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise UsageError(f"--set {setting}: {section} is a value, not a section.")
        inner[key] = _value(text)
    return values


def fault(text: str) -> dict[str, Any]:
    """The values of a fault given as `kill:stage=2,microbatch=400`, unchecked. Raises UsageError for another form."""
    kind, colon, rest = text.partition(":")
    values: dict[str, Any] = {"kind": kind.strip()}
    for part in rest.split(",") if colon else ():
        name, equals, value = part.partition("=")
        if not equals or not name.strip() or name.strip() in values:
            raise UsageError(f"--fault takes something like kill:stage=2,microbatch=400, not {text!r}.")
        values[name.strip()] = _value(value)
    return values


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` in their places, section by section."""
    result = dict(base)
    for key, value in over.items():
        mine = result.get(key)
        result[key] = merged(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return result


def to_toml(run: Run) -> str:
    """Every value that the run uses, as TOML; values that are None are left out. Arrays are named, not written."""
    values = run.model_dump(mode="python", exclude={"data"})
    return tomli_w.dumps({"data": run.data_name} | _plain(values))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if inner not in (None, {})}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
