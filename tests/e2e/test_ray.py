"""Runs on a real Ray cluster of two nodes: where its workers are, what they train, and what is left when they are killed."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import until
from tests.e2e.commands import ENDLESS, SMALL, decoupled, gone, in_process, is_one_sentence, read_until, started
from tests.e2e.ray_cluster import Cluster, ray_cluster, why_not


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(f"no Ray cluster of two nodes here: {reason}")
    with ray_cluster() as made:
        yield made


@pytest.mark.slow
def test_two_nodes_train_what_one_machine_trains_bit_for_bit_and_tensors_travel_on_zeromq(
    cluster: Cluster, tmp_path: Path
) -> None:
    command = ["train", "--schedule", "lockstep", "--hidden", "256,256,256", "--epochs", "2"]
    local = decoupled(*command, "--out", "local", cwd=tmp_path)
    before = cluster.other.bytes_on_the_cable()
    done = decoupled(*command, *cluster.options, "--out", "run", cwd=tmp_path, where=cluster.head.here)
    travelled = cluster.other.bytes_on_the_cable() - before

    assert (local.returncode, done.returncode) == (0, 0), local.stderr + done.stderr
    assert done.stderr == ""
    assert f"4 of 4 workers have joined at tcp://{cluster.head.ip}:" in done.stdout
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (tmp_path / "local" / "model.safetensors").read_bytes()
    workers = json.loads((tmp_path / "run" / "report.json").read_text())["workers_detail"]
    there = [worker for worker in workers if worker["host"] == cluster.other.name]
    assert len(there) == 2
    assert [worker["host"] for worker in workers].count(cluster.head.name) == 2
    on_zeromq = sum(worker["bytes_sent"] + worker["bytes_received"] for worker in there)
    assert on_zeromq > 10e6
    assert travelled < 1.2 * on_zeromq, "no more has gone over the cable than the workers have sent and received themselves"


@pytest.mark.slow
def test_a_worker_that_is_killed_on_the_other_node_is_restarted_by_ray(cluster: Cluster, tmp_path: Path) -> None:
    command = ["train", *cluster.options, "--hidden", "32,32,32", "--epochs", "200", "--out", "run"]
    main = started(*command, cwd=tmp_path, where=cluster.head.here)
    read_until(main, "loss")

    victim = cluster.other.workers()[0]
    victim.kill()
    assert f"process {victim.pid} on {cluster.other.name}" in read_until(main, "lost")
    read_until(main, "rejoined: generation 1")
    _, said = main.communicate(timeout=60)

    assert (main.returncode, said) == (0, "")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["restarts"] == 1
    assert report["test_accuracy"] > 0.9


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced_and_ctrl_c_leaves_none(cluster: Cluster, tmp_path: Path) -> None:
    command = ["train", *cluster.options, *ENDLESS, "--stall-timeout", "2", "--fault", "stop:stage=2,microbatch=400"]
    main = started(*command, "--out", "run", cwd=tmp_path, where=cluster.head.here)

    read_until(main, "stage 2 lost: no report")
    read_until(main, "stage 2 rejoined: generation 1")

    workers = cluster.workers()
    main.send_signal(signal.SIGINT)
    _, said = main.communicate(timeout=20)
    assert main.returncode == 130
    assert is_one_sentence(said, "Interrupted")
    assert len(workers) == 4
    until("the workers to end", lambda: gone(workers) and not cluster.workers())


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_when_the_command_is_killed_no_worker_is_left_on_any_node(
    cluster: Cluster, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    main = started("train", *cluster.options, *ENDLESS, "--out", "run", cwd=tmp_path, where=cluster.head.here)
    read_until(main, "loss")
    workers = cluster.workers()

    main.send_signal(number)
    _, said = main.communicate(timeout=20)

    assert main.returncode == code
    assert said.count("\n") == (0 if code < 0 else 1), said
    assert len(workers) == 4
    until("the workers to end", lambda: gone(workers) and not cluster.workers())


@pytest.mark.slow
def test_a_cluster_with_too_little_room_is_one_sentence(cluster: Cluster, tmp_path: Path) -> None:
    command = ["train", *cluster.options, *SMALL, "--set", "runtime.threads=2", "--out", "run"]
    done = decoupled(*command, cwd=tmp_path, where=cluster.head.here)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert "4 workers with 2 CPUs each, and the Ray cluster has 4 CPUs on 2 nodes, room for 2" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_where_no_cluster_answers_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    done = decoupled("train", "--launcher", "ray", "--ray-address", "127.0.0.1:1", "--out", "run", cwd=tmp_path)

    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert "127.0.0.1:1 cannot be reached" in done.stderr
    assert "ray start --head" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--ray-address", "auto"], "give --launcher ray as well"),
        (["--launcher", "ray", "--schedule", "single"], "Leave --launcher out"),
        (["--launcher", "ray", "--ray-address", "ray://10.0.0.1:10001"], "HOST:PORT"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], hint: str, tmp_path: Path) -> None:
    if "ray://" in arguments[-1]:
        pytest.importorskip("ray", reason="Ray is not installed")
    done = in_process("train", *arguments, "--out", "run", cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert hint in done.stderr
