"""Code of the user's: found by name, run only where it was named, and refused in a sentence that says what is wrong."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from decoupled import Run, train, user_code
from decoupled.errors import RunFailed, UsageError
from decoupled.registry import Registry
from decoupled.runtime.assignment import Assignment, assign
from decoupled.runtime.resolve import resolve
from decoupled.runtime.warmup import warm_up
from tests.cluster import Cluster
from tests.datasets import blobs

HEAD = """
import numpy as np

class Silent:
    state, work = {}, (0, 0)

    def __init__(self, site, size: float = 0.0):
        self.size = size

    def synthesize(self, h, targets):
        return np.full_like(h, self.size)

    def update(self, samples, decay):
        pass

    def refine(self, h, targets, gradient, decay):
        return self.synthesize(h, targets)

class Outer:
    class Inner:
        pass

number = 3
"""


@pytest.fixture(autouse=True)
def _no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is a process that was started with no code."""
    monkeypatch.setattr(user_code, "_named", {})


@pytest.fixture
def head(tmp_path: Path) -> Path:
    path = tmp_path / "my_head.py"
    path.write_text(HEAD)
    return path


def heads() -> Registry:
    return Registry("head", {"silent": lambda site, loud=False: loud})


def test_code_is_run_only_where_it_was_named(head: Path) -> None:
    with pytest.raises(UsageError, match=rf"--code {head}"):
        user_code.load(f"{head}:Silent")

    user_code.allow(str(head))

    assert user_code.load(f"{head}:Silent").__name__ == "Silent"
    assert user_code.load(f"{head}:Outer.Inner").__name__ == "Inner"


def test_annotations_for_type_checkers_alone_need_not_be_there(tmp_path: Path) -> None:
    path = tmp_path / "my_head.py"
    path.write_text("def make(site: 'HeadSite', loud: 'Loudness' = 0):\n    return loud\n")
    user_code.allow(str(path))

    assert heads().make(f"{path}:make", "site", options={"loud": 3}) == 3


def test_a_file_is_the_same_by_any_of_its_paths(head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(head.parent)
    user_code.allow("my_head.py")

    assert user_code.load("./my_head.py:Silent") is user_code.load(f"{head}:Silent")


def test_a_module_is_found_as_python_finds_it(head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = head.parent / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    head.rename(package / "heads.py")
    monkeypatch.syspath_prepend(head.parent)

    user_code.allow("my_package.heads")

    assert user_code.load("my_package.heads:Silent") is sys.modules["my_package.heads"].Silent


def test_what_runs_is_what_was_there_when_it_was_named(head: Path) -> None:
    """Its sha256 is that of what runs, although the file may have changed since."""
    source = user_code.allow(str(head))
    before = source.sha256
    head.write_text("raise SystemExit")

    assert user_code.load(f"{head}:number") == 3
    assert user_code.fingerprints([f"{head}:number"]) == {str(head): before}


def test_a_file_that_is_named_again_runs_as_it_is_then(head: Path) -> None:
    """So a notebook's next run trains what its cell has written."""
    source = user_code.allow(str(head))
    assert user_code.load(f"{head}:number") == 3
    head.write_text("number = 5")

    assert user_code.load(f"{head}:number") == 3
    assert user_code.allow(str(head)).sha256 != source.sha256
    assert user_code.load(f"{head}:number") == 5


@pytest.mark.parametrize(
    ("where", "content", "said"),
    [
        ("gone.py", None, r"gone.py cannot be read: No such file"),
        ("no.such.module", None, r"no.such.module cannot be found"),
        ("surely_no_such_module", None, r"There is no module surely_no_such_module here"),
        ("bad.py", "1 / 0", r"bad.py cannot be loaded: ZeroDivisionError: division by zero at bad.py:1\."),
        ("bad.py", "def", r"bad.py cannot be loaded: SyntaxError"),
        ("bad.py", "Sillent = 1", r"bad.py has no Silent. Did you mean Sillent\?"),
        ("bad.py", "from decoupled import Run, train\ntrain(Run())", r"bad.py cannot be loaded: .*__main__"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(
    where: str, content: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / where).write_text(content)

    def use() -> None:
        user_code.allow(where)
        user_code.load(f"{where}:Silent")

    with pytest.raises(UsageError, match=said) as error:
        use()

    assert "\n" not in str(error.value)


def test_a_class_at_hand_is_given_as_what_others_find_it_by(head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("my_head")
    module.__file__ = str(head)
    exec(HEAD, module.__dict__)
    monkeypatch.setitem(sys.modules, "my_head", module)
    monkeypatch.setattr(module.Silent, "__module__", "my_head")

    run = Run(head=module.Silent, schedule="lockstep")

    assert run.head == f"{head}:Silent"
    assert user_code.load(run.head) is module.Silent


def test_what_other_processes_cannot_find_is_refused() -> None:
    class Here:
        pass

    with pytest.raises(UsageError, match="define it at the top level of a file"):
        Run(head=Here)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("silent", {"width": 3}, "The head silent has no option width; it has loud"),
        ("{head}:Silent", {"size": "big"}, "size: .*number, .*not 'big'"),
        ("{head}:Silent", {"depth": 1}, "has no option depth; it has size"),
        ("{head}:number", {}, "it cannot be called"),
        ("loud", {}, "There is no head 'loud'"),
    ],
)
def test_options_that_do_not_fit_are_refused(name: str, options: dict[str, object], said: str, head: Path) -> None:
    user_code.allow(str(head))

    with pytest.raises(UsageError, match=said):
        heads().make(name.format(head=head), None, options=options)


def test_options_come_as_what_they_are_annotated_with(head: Path) -> None:
    user_code.allow(str(head))

    assert heads().make(f"{head}:Silent", None, options={"size": "0.5"}).size == 0.5


def test_an_error_of_the_users_own_names_its_line(head: Path) -> None:
    head.write_text(HEAD.replace("return np.full_like(h, self.size)", "return 1 / 0"))
    assignment = with_head(head)

    with pytest.raises(RunFailed, match=r"division by zero at my_head\.py:11\."):
        warm_up(assignment)


def test_an_error_while_something_is_made_names_its_line(head: Path) -> None:
    head.write_text("def fail(site):\n    return {}['gone']\n")
    user_code.allow(str(head))

    with pytest.raises(UsageError, match=r"KeyError: 'gone' at my_head\.py:2\."):
        heads().make(f"{head}:fail", None, options={})


def test_an_assignment_names_code_and_never_brings_it(head: Path) -> None:
    assignment = with_head(head)

    body = assignment.to_message().body

    assert body["run"]["head"] == f"{head}:Silent"
    assert body["code"] == {str(head): user_code.allow(str(head)).sha256}
    assert "synthesize" not in str(body)


def with_head(head: Path) -> Assignment:
    user_code.allow(str(head))
    return assign(resolve(Run(head=f"{head}:Silent", hidden=(8, 8), args={"head": {"size": 0.5}}), blobs()), 0)


def test_a_worker_runs_its_own_copy_wherever_that_is(head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = with_head(head).to_message()
    monkeypatch.setattr(user_code, "_named", {})
    copy = tmp_path / "elsewhere.py"
    copy.write_text(HEAD)
    user_code.allow(str(copy))

    assert Assignment.from_message(message).with_own_code().run.head == f"{copy}:Silent"


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (None, "code of my_head.py, with which this worker was not started. Start it with --code my_head.py"),
        ("number = 4", "another my_head.py than the coordinator"),
    ],
)
def test_a_worker_without_the_code_is_refused(
    own: str | None, said: str, head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = with_head(head).to_message()
    monkeypatch.setattr(user_code, "_named", {})
    if own is not None:
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "my_head.py").write_text(own)
        user_code.allow(str(tmp_path / "other" / "my_head.py"))

    with pytest.raises(RunFailed, match=said):
        Assignment.from_message(message).with_own_code()


def test_a_run_with_a_head_of_ones_own_trains(head: Path) -> None:
    """A head that guesses 0.5 for every gradient moves the weights another way than one that guesses nothing."""
    networks = []
    for size in (0.0, 0.5):
        user_code.allow(str(head))
        cluster = Cluster(Run(head=f"{head}:Silent", hidden=(8, 8), epochs=1, args={"head": {"size": size}}), blobs())
        cluster.run()
        networks.append(cluster.coordinator.report().network.arrays["layer0.weight"])

    assert not np.array_equal(networks[0], networks[1])


def test_a_run_folder_is_data_until_its_code_is_named(head: Path, tmp_path: Path) -> None:
    run = Run(network={"activation": f"{head.with_name('my_layer.py')}:Half"}, hidden=(8,), epochs=1, schedule="single")
    head.with_name("my_layer.py").write_text(
        "class Half:\n    parameters, state = [], {}\n    def forward(self, x, training):\n        return x / 2, None\n"
        "    def backward(self, dy, cache, want_dx):\n        return dy / 2 if want_dx else None\n"
    )
    train(run, tmp_path / "run")
    from decoupled import load_network

    assert load_network(tmp_path / "run").predict(blobs_like()).shape == (2,)
    user_code._named.clear()
    with pytest.raises(UsageError, match=r"--code .*my_layer.py"):
        load_network(tmp_path / "run")


def blobs_like() -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.zeros((2, 64), np.uint8)
