"""Nothing in the package can run code that comes from outside as data; tests/test_hostile_files.py tries it with files."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import decoupled

FILES = sorted(Path(decoupled.__file__).parent.rglob("*.py"))
UNSAFE = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "code", "codeop"}
NAMES = {"eval", "exec", "compile", "__import__"}
METHODS = {"send_pyobj", "recv_pyobj", "import_module", "exec_module", "torch.load", "yaml.load", "np.load", "numpy.load"}


def unsafe(source: str) -> Iterator[str]:
    """What in a source file could run code from data."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names if name.name.split(".")[0] in UNSAFE)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in UNSAFE:
                yield module
            case ast.Call(func=called, keywords=keywords) if not any(map(refuses_pickles, keywords)):
                name = ast.unparse(called)
                yield from (name for known in (name, name.split(".")[-1]) if known in METHODS or name in NAMES)
            case ast.keyword(arg="allow_pickle") if not refuses_pickles(node):
                yield "allow_pickle"


def refuses_pickles(keyword: ast.keyword) -> bool:
    return keyword.arg == "allow_pickle" and ast.unparse(keyword.value) == "False"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import os, dill.source",
        "def f():\n    import shelve as s",
        "np.load(p, allow_pickle=True)",
        "np.load(p, allow_pickle=x)",
        "np.load(p)",
        "torch.load(p)",
        "yaml.load(p)",
        "eval('1')",
        "exec(text)",
        "importlib.import_module(name)",
        "socket.recv_pyobj()",
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert list(unsafe(source))


def test_no_module_unpickles_or_runs_what_it_reads() -> None:
    """But one, which runs the files that the user started this process with; another imports modules that it names itself."""
    found = {file.name: set(names) for file in FILES if (names := list(unsafe(file.read_text())))}

    assert len(FILES) > 20
    own = {"registry.py": {"importlib.import_module"}}
    assert found == own | {"user_code.py": {"exec", "compile", "importlib.import_module"}}
