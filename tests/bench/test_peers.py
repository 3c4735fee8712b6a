"""Peers: the settings they are tried with, and the choice among them; torch itself is not asked."""

import json
import sys
from dataclasses import replace
from typing import Any

import pytest

from decoupled.bench import peers
from decoupled.bench.peers import Settings
from decoupled.bench.short_runs import TIMED_UPDATES
from decoupled.errors import RunFailed
from decoupled.runtime.resolve import ResolvedRun
from tests.bench.cases import drawn
from tests.runtime.test_resolve import toy


class Torch:
    """Stands in for the child process: it has a rate for each of the settings, and fails with others."""

    def __init__(self, rates: dict[Settings, float], evaluations: list[dict[str, Any]] | None = None) -> None:
        self._rates, self._evaluations = rates, evaluations or []
        self.asked: list[tuple[Settings, int, int | None]] = []

    def __call__(
        self, settings: Settings, resolved: ResolvedRun, warm_up: int, updates_max: int | None, **_: bool
    ) -> dict[str, Any]:
        self.asked.append((settings, warm_up, updates_max))
        if settings not in self._rates:
            raise RunFailed("torch cannot train this.")
        return {"samples_per_s": self._rates[settings], "evaluations": self._evaluations, "updates": 30}


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "cores", lambda: 2)


def test_one_process_is_tried_with_one_thread_and_with_all_and_with_both_optimisers() -> None:
    tried = peers.candidates("torch", drawn())

    assert {(s.kind, s.threads, s.fused) for s in tried} == {
        ("single", 1, True),
        ("single", 1, False),
        ("single", 2, True),
        ("single", 2, False),
    }
    assert len(tried) == 4


def test_on_one_core_there_is_no_choice_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "cores", lambda: 1)

    assert [(s.threads, s.fused) for s in peers.candidates("torch", drawn())] == [(1, True), (1, False)]


@pytest.mark.parametrize(
    ("name", "batch", "sizes"),
    [
        ("torch gpipe", 20, {(2, 1), (2, 2), (2, 4), (3, 1), (3, 2), (3, 4)}),  # 8 do not divide 20
        ("torch gpipe", 8, {(2, 1), (2, 2), (2, 4), (3, 1), (3, 2), (3, 4)}),  # batch norm wants 2 samples or more
        ("torch gpipe", 16, {(2, 1), (2, 2), (2, 4), (2, 8), (3, 1), (3, 2), (3, 4), (3, 8)}),
        ("torch 1f1b", 16, {(2, 2), (2, 4), (2, 8), (3, 4), (3, 8)}),  # a microbatch for each worker
        ("torch 1f1b", 9, set()),
    ],
)
def test_pipelines_are_tried_with_the_workers_and_microbatches_that_fit(
    name: str, batch: int, sizes: set[tuple[int, int]]
) -> None:
    tried = peers.candidates(name, drawn(batch=batch))

    assert {(s.workers, s.microbatches) for s in tried} == sizes
    assert len(tried) == len(sizes)
    assert {(s.kind, s.threads) for s in tried} <= {(name.removeprefix("torch "), 1)}


def test_a_pipeline_has_no_more_workers_than_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "cores", lambda: 16)

    assert {s.workers for s in peers.candidates("torch gpipe", drawn(hidden=(16,)))} == {2}


def test_the_best_settings_are_the_fastest_of_those_that_work(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, fast = Settings("single", 1, True), Settings("single", 2, False)
    torch = Torch({slow: 100.0, fast: 200.0})
    monkeypatch.setattr(peers, "_ask", torch)

    tried = list[str]()
    settings, choice = peers.best("torch", drawn(), 5, tried.append)

    assert settings == fast
    assert choice.tries == {str(slow): [100.0, 100.0], str(fast): [200.0, 200.0]}
    assert tried == [f"trying torch with {settings}" for settings, _, _ in torch.asked], "also those that fail"
    assert {(warm_up, most) for _, warm_up, most in torch.asked} == {(5, 5 + TIMED_UPDATES)}


@pytest.mark.parametrize("batch", [20, 9])
def test_where_none_of_the_settings_works_there_is_no_best(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of 9 cannot be split into any of the numbers of microbatches that 1f1b needs."""
    monkeypatch.setattr(peers, "_ask", Torch({}))

    with pytest.raises(RunFailed):
        peers.best("torch 1f1b", drawn(batch=batch), 5, lambda what: None)


def test_a_trial_of_a_peer_is_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings("single", 2, True)
    evaluations = [{"epoch": 1, "accuracy": 0.4, "loss": 1.0}, {"epoch": 2, "accuracy": 0.8, "loss": 0.5}]
    torch = Torch({settings: 50.0}, evaluations)
    monkeypatch.setattr(peers, "_ask", torch)

    came_to = peers.train(settings, drawn(), warm_up=5, target=0.8)

    assert torch.asked == [(settings, 5, None)]
    assert came_to.samples_per_s == 50.0
    assert came_to.target_s == 2 * 200 / 50
    assert (came_to.report["test_accuracy"], came_to.report["test_loss"]) == (0.8, 0.5)
    assert came_to.report["settings"] == "fused optimiser, 2 threads"


def test_a_peer_that_does_not_evaluate_has_no_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings("gpipe", 1, True, 3, 4)
    monkeypatch.setattr(peers, "_ask", Torch({settings: 50.0}))

    came_to = peers.train(settings, drawn(), warm_up=5, target=0.8)

    assert (came_to.report["test_accuracy"], came_to.target_s) == (None, None)
    assert came_to.report["settings"] == "3 processes, 4 microbatches, 1 thread each"


def test_torch_that_cannot_be_imported_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)

    assert not peers.is_there()


def test_pipelines_take_no_part_where_shapes_vary_or_several_arrays_flow() -> None:
    """Of the toy model a sequence of any length and its mask flow."""
    with pytest.raises(RunFailed, match="one array of a fixed shape"):
        peers.best("torch gpipe", toy(), 5, lambda what: None)


def test_optimisers_that_pytorch_has_in_one_form_are_tried_in_that() -> None:
    run = drawn()
    nadam = run.run.model_copy(update={"optimiser": run.run.optimiser.model_copy(update={"name": "nadam"})})

    assert not any(settings.fused for settings in peers.candidates("torch", replace(run, run=nadam)))


def test_a_pipeline_of_other_workers_than_the_run_has_is_cut_by_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = list[dict[str, Any]]()

    def child(command: list[str], given: str) -> str:
        jobs.append(json.loads(given))
        return json.dumps({"samples_per_s": 1.0})

    monkeypatch.setattr(peers, "child", child)
    peers.best("torch gpipe", drawn(), 5, lambda what: None)

    assert {len(job["stages"]) for job in jobs} == {2, 3}
    assert all(job["stages"] == [[0], [1, 2]] for job in jobs if len(job["stages"]) == 2)
