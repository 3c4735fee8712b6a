"""What a message costs on this machine: measured in short runs of lockstep, which waits for every one of them."""

from decoupled.bench.conditions import changed
from decoupled.bench.cut import Cut
from decoupled.bench.prediction import Messages, message_sizes, samples_per_s
from decoupled.bench.short_runs import shortened, trying
from decoupled.bench.sides import under
from decoupled.config import Run
from decoupled.runtime.resolve import ResolvedRun

WARM_UP, TIMED = 3, 12  # updates
PART = 4  # of a batch that makes the shorter messages


def measured(run: Run, cut: Cut) -> Messages:
    """In the run's network on its emulated devices, with a batch and with a part of it. Raises RunFailed as training does."""
    device_ms = run.emulation.device_ms
    assert device_ms is not None, "the devices' times are known where they are emulated"
    lockstep = changed(under("lockstep", run), emulation={"device_ms": device_ms})
    shorter = changed(lockstep, batch=max(run.batch // PART, 2), emulation={"device_ms": device_ms / PART})
    with trying(run.runtime.threads, WARM_UP, run.code) as train:
        runs = [shortened(cut.resolve(one), WARM_UP, TIMED) for one in (lockstep, shorter)]
        return solved(*((one, train(one).samples_per_s) for one in runs))


def solved(long: tuple[ResolvedRun, float], short: tuple[ResolvedRun, float]) -> Messages:
    """What messages cost where these two runs had these rates, in samples/s."""
    (long_ns, long_bytes), (short_ns, short_bytes) = _for_a_message(*long), _for_a_message(*short)
    more = long_bytes - short_bytes  # none where a batch is too small to be parted
    byte_ns = max((long_ns - short_ns) / more, 0.0) if more else 0.0
    return Messages(float(max(short_ns - byte_ns * short_bytes, 0.0)), float(byte_ns))


def _for_a_message(resolved: ResolvedRun, rate: float) -> tuple[float, float]:
    """What one takes in the mean, in ns, and how many bytes it has: every batch waits for one down and one up each link."""
    ideal = samples_per_s(resolved, WARM_UP)
    assert ideal is not None
    extra_ns = resolved.run.batch * (1 / rate - 1 / ideal) * 1e9
    sizes = message_sizes(resolved)
    return extra_ns / (2 * (len(resolved.stages) - 1)), (sizes.activation + sizes.gradient) / 2
