"""The user's code: what this process may run of it, by reference as `package.module:attribute` or `file.py:attribute`.

A process runs only what it was itself started with: what its command line or its script names. Runs that come in messages
and folders name code as well, but never bring it; both ends compare the sha256 of the file that holds it, and so does
whoever goes on with a folder.
"""

import difflib
import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from decoupled.errors import DecoupledError, UsageError

FORM = re.compile(r"(?P<where>.+\.py|[A-Za-z_][\w.]*):(?P<attribute>[A-Za-z_][\w.]*)")


@dataclass(slots=True)
class Source:
    """A file of the user's, as it was when it was named; it is run when something of it is first needed."""

    where: str  # its whole path, or the name of the module
    path: Path
    content: bytes
    module: ModuleType | None = None

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def is_imported(self) -> bool:
        """By others, and not run here."""
        return self.module is not None and self.module.__name__ != self._name

    @property
    def _name(self) -> str:
        return f"_decoupled_user_{self.sha256[:16]}"

    def load(self) -> ModuleType:
        """Raises UsageError when its code cannot be run."""
        if self.module is None:
            try:
                with _loading():
                    self.module = self._run() if self.where.endswith(".py") else importlib.import_module(self.where)
            except DecoupledError as error:
                raise UsageError(f"{self.path} cannot be loaded: {error}") from error
            except Exception as error:
                raise UsageError(f"{self.path} cannot be loaded: {describe(error)}.") from error
        return self.module

    def _run(self) -> ModuleType:
        """Runs the very content whose sha256 was compared."""
        module = ModuleType(self._name)
        module.__file__ = str(self.path)
        sys.modules[module.__name__] = module  # dataclasses look there
        exec(compile(self.content, self.path, "exec"), module.__dict__)
        return module


_named: dict[str, Source] = {}  # by `where`: all that this process was started with
_loads: list[bool] = []  # not empty while a user's file is being run


@contextmanager
def _loading() -> Iterator[None]:
    _loads.append(True)
    try:
        yield
    finally:
        _loads.pop()


def refuse_while_loading() -> None:
    """Raises UsageError when a user's file is being run for what it defines, and would begin a run of its own."""
    if _loads:
        raise UsageError('a worker runs this file too, so begin the run below `if __name__ == "__main__":`.')


def is_reference(text: str) -> bool:
    return FORM.fullmatch(text) is not None


def split(reference: str) -> tuple[str, str]:
    """Where the code is, and what of it. Raises ValueError for what is no reference."""
    found = FORM.fullmatch(reference)
    if found is None:
        raise ValueError(f"{reference!r} is no reference such as my_code.py:thing or package.module:thing")
    return found["where"], found["attribute"]


def absolute(reference: str) -> str:
    """The same reference with the whole path of its file."""
    where, attribute = split(reference)
    return f"{_whole(where)}:{attribute}"


def _whole(where: str) -> str:
    return str(Path(where).resolve()) if where.endswith(".py") else where


def allow(where: str) -> Source:
    """Lets this process run that file or module: as it is now, where it was changed since it was last named.

    What a script or a notebook has imported itself stays as it is there. Raises UsageError when there is no such code.
    """
    where = _whole(where)
    before = _named.get(where)
    if before is not None and before.is_imported:
        return before
    path = before.path if before is not None else Path(where) if where.endswith(".py") else _file_of(where)
    try:
        now = Source(where, path, path.read_bytes())
    except OSError as error:
        raise UsageError(f"The code {where} cannot be read: {error.strerror}.") from None
    if before is None or before.content != now.content:
        _named[where] = now
    return _named[where]


def allow_all(code: Iterable[str] | None) -> None:
    """Lets this process run those files and modules. Raises UsageError when one is not there."""
    for where in code or ():
        allow(where)


def _file_of(module: str) -> Path:
    try:
        with _loading():
            spec = importlib.util.find_spec(module)  # runs the packages that the module is in
    except Exception as error:
        raise UsageError(f"The module {module} cannot be found: {type(error).__name__}: {error}.") from error
    if spec is None or spec.origin is None or not spec.has_location:
        raise UsageError(f"There is no module {module} here. Install it, add its folder to PYTHONPATH, or give a file's path.")
    return Path(spec.origin)


def load(reference: str) -> Any:
    """What the reference names. Raises UsageError when it is not there, or this process was not started with its code."""
    where, attribute = split(reference)
    source = _named.get(_whole(where))
    if source is None:
        raise UsageError(f"This uses code of {where}. If you trust it, name it as well: --code {where}")
    found: Any = source.load()
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, [name for name in vars(found) if not name.startswith("_")], 1)
            raise UsageError(f"{where} has no {attribute}.{f' Did you mean {near[0]}?' if near else ''}")
        found = getattr(found, part)
    return found


def reference_to(thing: Any) -> str:
    """The reference of a class or function that a script has at hand, whose code this process may then run.

    Raises ValueError when no other process could find it.
    """
    module = sys.modules.get(getattr(thing, "__module__", ""))
    name, file = getattr(thing, "__qualname__", "<locals>"), getattr(module, "__file__", None)
    if module is None or file is None or "<" in name:
        where = "define it at the top level of a file (in a notebook, of one that a cell with %%writefile my_code.py writes)"
        raise ValueError(f"{thing!r} cannot be found by other processes, as workers are: {where}, and name it my_code.py:thing")
    where = module.__name__ if "." in module.__name__ else str(Path(file).resolve())
    source = allow(where)
    source.module = source.module or module
    return f"{where}:{name}"


def describe(error: BaseException) -> str:
    """What kind of error, the first line of what it says, and the last line of the user's own that led to it, if any."""
    paths = {source.path.resolve() for source in _named.values()}
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    lines = [f" at {path.name}:{line}" for path, line in frames if path.resolve() in paths]
    said = next(iter(str(error).strip().splitlines()), "").rstrip(".")
    return f"{type(error).__name__}{said and f': {said:.300}'}{lines[-1] if lines else ''}"


def fingerprints(references: Iterable[str]) -> dict[str, str]:
    """The sha256 of each file that the references need, by where it is. Raises UsageError where one may not be run."""
    found = {}
    for reference in references:
        load(reference)
        where = split(reference)[0]
        found[where] = _named[_whole(where)].sha256
    return found


def own(reference: str, sha256: str) -> str | None:
    """The reference as it is in this process, which may have the same code elsewhere; None where it has not."""
    found = next((source.where for source in _named.values() if source.sha256 == sha256), None)
    return found and f"{found}:{split(reference)[1]}"


def has_namesake(reference: str) -> bool:
    """Whether this process was started with a file, or a module, that is called as the one of the reference is."""
    name = Path(split(reference)[0]).name
    return any(Path(source.where).name == name for source in _named.values())
