"""What this process may use of its machine: cores and memory, as far as control groups (version 1 and 2) limit them."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/")


def cores(root: Path = ROOT) -> int:
    """How many threads can compute at the same time, at least 1. A quota of 1.5 cores counts as 1: two would be throttled."""
    quota = cpu_quota(root)
    return allowed_cores() if quota is None else max(min(allowed_cores(), int(quota)), 1)


def allowed_cores() -> int:
    """The cores that the scheduler may put this process on, whatever share of their time it then gets."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota(root: Path = ROOT) -> float | None:
    """The control group's share of processor time, in cores; None without a limit."""
    quotas = [float(quota) / float(period) for quota, period in map(str.split, _found(root, "cpu", "cpu.max")) if quota != "max"]
    per_group = zip(_found(root, "cpu", "cpu.cfs_quota_us"), _found(root, "cpu", "cpu.cfs_period_us"), strict=False)
    quotas += [float(quota) / float(period) for quota, period in per_group if float(quota) > 0]
    return min(quotas, default=None)


def memory_limit(root: Path = ROOT) -> int | None:
    """The control group's limit of memory in bytes; None without a limit."""
    found = [*_found(root, "memory", "memory.max"), *_found(root, "memory", "memory.limit_in_bytes")]
    limits = [int(text) for text in found if text != "max"]
    return min((limit for limit in limits if limit < 1 << 60), default=None)  # the old form says "none" by a huge number


def _found(root: Path, controller: str, name: str) -> Iterator[str]:
    """What the file of that name holds in this process's group and in the groups around it, as far as they are visible here."""
    mounted = root / "sys/fs/cgroup"
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0" or controller in controllers.split(","):
                top = mounted if number == "0" else mounted / controller
                inner = top / path.lstrip("/")
                for folder in (inner, *inner.parents):
                    if folder.is_relative_to(top):
                        with suppress(OSError):
                            yield (folder / name).read_text().strip()
