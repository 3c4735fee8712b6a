"""Nothing in the package can run code that comes from outside as data."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import decoupled

FILES = sorted(Path(decoupled.__file__).parent.rglob("*.py"))
UNSAFE = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def unsafe(source: str) -> Iterator[str]:
    """What in a source file could run code from data."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names if name.name.split(".")[0] in UNSAFE)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in UNSAFE:
                yield module
            case ast.keyword(arg="allow_pickle", value=value) if not (isinstance(value, ast.Constant) and value.value is False):
                yield "allow_pickle"
            case ast.Attribute(attr="send_pyobj" | "recv_pyobj" as name):
                yield name


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "def f():\n    import shelve as s",
        "np.load(p, allow_pickle=True)",
        "np.load(p, allow_pickle=x)",
        "socket.recv_pyobj()",
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert list(unsafe(source))


def test_no_module_unpickles() -> None:
    found = {str(file): names for file in FILES if (names := list(unsafe(file.read_text())))}

    assert len(FILES) > 20
    assert found == {}
