"""Control groups: what a container, or whoever starts services, lets the processes in it have. Linux knows two forms."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/")


def cpu_quota(root: Path = ROOT) -> float | None:
    """The cores' worth of time that may be used; None without a limit."""
    quotas = [float(quota) / float(period) for quota, period in map(str.split, _found(root, "cpu", "cpu.max")) if quota != "max"]
    per_group = zip(_found(root, "cpu", "cpu.cfs_quota_us"), _found(root, "cpu", "cpu.cfs_period_us"), strict=False)
    quotas += [float(quota) / float(period) for quota, period in per_group if float(quota) > 0]
    return min(quotas, default=None)


def memory_limit(root: Path = ROOT) -> int | None:
    """The bytes of memory that may be used; None without a limit."""
    found = [*_found(root, "memory", "memory.max"), *_found(root, "memory", "memory.limit_in_bytes")]
    limits = [int(text) for text in found if text != "max"]
    return min((limit for limit in limits if limit < 1 << 60), default=None)  # the old form says "none" by a huge number


def _found(root: Path, controller: str, name: str) -> Iterator[str]:
    """What the file of that name holds in the group of this process and in those round it, as far as they can be seen."""
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
