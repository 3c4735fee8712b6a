"""What is thought of a machine, from what was measured."""

import math
from pathlib import Path

import pytest

from decoupled.doctor import machine
from decoupled.doctor.finding import Finding, judged

GB, MB = 1 << 30, 1 << 20


def test_the_first_fault_that_is_there_decides() -> None:
    assert judged("a", "seen", (False, "fail", "x"), (True, "warn", "y"), (True, "fail", "z")) == Finding(
        "a", "warn", "seen", "y"
    )
    assert judged("a", "seen", (False, "fail", "x")) == Finding("a", "ok", "seen", "")


def test_versions_are_listed_and_a_libzmq_without_curve_is_told_of() -> None:
    found = machine.versions({"numpy": "2.1", "libzmq": "4.3.5"}, has_curve=True)

    assert (found.state, found.seen) == ("ok", "numpy 2.1, libzmq 4.3.5")
    assert machine.versions({}, has_curve=False).state == "warn"


@pytest.mark.parametrize(
    ("allowed", "quota", "workers", "threads", "state", "seen"),
    [
        (8, None, 4, 1, "ok", "8, for 4 workers"),
        (4, 8.0, 4, 1, "ok", "4, for 4 workers"),
        (3, None, 4, 1, "warn", "3, for 4 workers"),
        (4, None, 4, 2, "warn", "4, for 4 workers"),
        (64, 1.5, 4, 1, "warn", "64, of which the container may use 1.5, for 4 workers"),
        (64, 4.0, 4, 1, "ok", "64, of which the container may use 4, for 4 workers"),
    ],
)
def test_cores_are_counted_as_far_as_the_container_may_use_them(
    allowed: int, quota: float | None, workers: int, threads: int, state: str, seen: str
) -> None:
    found = machine.cores(allowed, quota, workers, threads)

    assert (found.state, found.seen) == (state, seen)


def test_blas_says_what_its_threads_would_be_and_what_workers_get() -> None:
    found = machine.blas([("openblas 0.3", 8)], 1, {"OMP_NUM_THREADS": "2"})

    assert found.state == "ok"
    assert found.seen == "openblas 0.3 would take 8; OMP_NUM_THREADS=2 is set; each worker is held to 1 (runtime.threads)"
    assert machine.blas([], 1, {}).state == "warn"


@pytest.mark.parametrize(
    ("available", "limit", "state"),
    [(8 * GB, None, "ok"), (GB, None, "warn"), (8 * GB, GB, "warn"), (8 * GB, 2 * GB, "ok"), (1200 * MB, None, "ok")],
)
def test_memory_is_what_the_machine_has_left_and_the_container_may_have(available: int, limit: int | None, state: str) -> None:
    found = machine.memory(available, limit, 4)

    assert found.state == state
    assert ("container" in found.seen) == (limit is not None)


@pytest.mark.parametrize(
    ("limit", "most", "workers", "state", "said"),
    [
        (1024, 4096, 4, "ok", "enough for 240 workers"),
        (1024, 4096, 240, "ok", ""),
        (1024, 4096, 241, "fail", "ulimit -n 1028"),
        (64, 64, 4, "fail", "hard limit (64)"),
        (math.inf, math.inf, 1000, "ok", "as many as one likes"),
        (64, math.inf, 4, "fail", "ulimit -n 80"),
    ],
)
def test_open_files_must_do_for_all_workers(limit: float, most: float, workers: int, state: str, said: str) -> None:
    found = machine.files(limit, most, workers)

    assert found.state == state
    assert said in found.seen + found.advice


@pytest.mark.parametrize(
    ("folder", "problem", "free", "state", "said"),
    [
        ("/tmp", "", GB, "ok", "/tmp, 1.0 GB free"),
        ("/" + "x" * 70, "", GB, "ok", ""),
        ("/" + "x" * 71, "", GB, "fail", "too long for socket files by 1"),
        ("/" + "ü" * 40, "", GB, "fail", "too long"),
        ("/ro", "read-only file system", GB, "fail", "read-only file system"),
        ("/tmp", "", MB, "warn", "Make room"),
    ],
)
def test_the_temp_folder_must_take_socket_files(folder: str, problem: str, free: int, state: str, said: str) -> None:
    found = machine.temp(folder, problem, free)

    assert found.state == state
    assert said in found.seen + found.advice


def test_shared_memory_is_told_and_not_needed() -> None:
    assert machine.shared_memory(64 * MB) == Finding(
        "shared memory", "ok", "64 MB in /dev/shm; none is needed, as local links are socket files"
    )
    assert machine.shared_memory(None).seen.startswith("no /dev/shm")


@pytest.mark.parametrize(
    ("problem", "free", "state"), [("", GB, "ok"), ("/ro cannot be written", GB, "fail"), ("", 10 * MB, "warn")]
)
def test_the_runs_folder_must_have_room(problem: str, free: int, state: str) -> None:
    assert machine.runs(Path("/home/runs"), problem, free).state == state


def test_kernels_that_cannot_be_kept_are_compiled_anew_each_time() -> None:
    assert machine.kernels(Path("/cache"), 7).seen == "compiled; kept in /cache"
    assert "the first run compiles them" in machine.kernels(Path("/cache"), 0).seen
    assert "NUMBA_CACHE_DIR" in machine.kernels(None, 0).advice


def test_a_port_that_is_taken_is_told_of_with_its_holder_if_that_is_known() -> None:
    assert machine.port(8080, "a page", "", "", "").state == "ok"
    taken = machine.port(8080, "a page", "address already in use", "process 7 (x)", "--address HOST:PORT")
    assert (taken.title, taken.state) == ("port 8080", "warn")
    assert taken.seen == "address already in use, by process 7 (x); it is where a page would be"
    assert "--address HOST:PORT" in taken.advice
    assert "by" not in machine.port(8080, "a page", "address already in use", "", "").seen


@pytest.mark.parametrize(
    ("numbers", "outward", "state", "said"),
    [
        (["10.0.0.5"], "10.0.0.5", "ok", "box stands for 10.0.0.5 here"),
        (["127.0.1.1"], "10.0.0.5", "warn", "give 10.0.0.5 as --host"),
        (["::1", "127.0.0.1"], "10.0.0.5", "warn", "give 10.0.0.5"),
        (["127.0.1.1", "fe80::1%eth0"], "10.0.0.5", "ok", ""),
        ([], "10.0.0.5", "warn", "stands for no address"),
        (["127.0.1.1"], "", "ok", "no way to other networks"),
    ],
)
def test_the_hosts_own_name_should_stand_for_what_others_reach(numbers: list[str], outward: str, state: str, said: str) -> None:
    found = machine.name("box", numbers, outward)

    assert found.state == state
    assert said in found.seen + found.advice


@pytest.mark.parametrize(("amount", "words"), [(5, "5 B"), (64 * MB, "64 MB"), (1.5 * GB, "1.5 GB"), (5000 * GB, "5000.0 GB")])
def test_sizes_are_told_in_words(amount: float, words: str) -> None:
    assert machine.size(amount) == words
