"""What a process may use, under both versions of control groups."""

from pathlib import Path

import pytest

from decoupled import resources
from decoupled.resources import cores, cpu_quota, memory_limit

NONE = str(2**63 - 4096)  # as the old form says it


def system(root: Path, groups: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("groups", "files", "quota", "limit"),
    [
        ("0::/", {"cpu.max": "150000 100000", "memory.max": "1000000"}, 1.5, 1_000_000),
        ("0::/", {"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000", "a/b/memory.max": "5"}, 2.0, 5),
        ("0::/elsewhere", {"cpu.max": "50000 100000"}, 0.5, None),
        (
            "3:cpu,cpuacct:/docker/1\n2:memory:/docker/1",
            {
                "cpu/cpu.cfs_quota_us": "50000",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/docker/1/memory.limit_in_bytes": "7",
                "memory/memory.limit_in_bytes": NONE,
            },
            0.5,
            7,
        ),
        (
            "3:cpu:/\n2:memory:/",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000", "memory/memory.limit_in_bytes": NONE},
            None,
            None,
        ),
    ],
)
def test_the_smallest_limit_of_the_groups_round_a_process_holds(
    groups: str, files: dict[str, str], quota: float | None, limit: int | None, tmp_path: Path
) -> None:
    root = system(tmp_path, groups, files)

    assert (cpu_quota(root), memory_limit(root)) == (quota, limit)


def test_a_system_without_groups_has_no_limits(tmp_path: Path) -> None:
    assert (cpu_quota(tmp_path), memory_limit(tmp_path)) == (None, None)


@pytest.mark.parametrize(
    ("allowed", "quota", "expected"),
    [(8, None, 8), (8, "400000", 4), (2, "400000", 2), (8, "150000", 1), (8, "50000", 1)],
)
def test_cores_are_those_allowed_or_the_whole_ones_of_the_quota_and_at_least_one(
    allowed: int, quota: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "allowed_cores", lambda: allowed)
    root = system(tmp_path, "0::/", {"cpu.max": f"{quota or 'max'} 100000"})

    assert cores(root) == expected
