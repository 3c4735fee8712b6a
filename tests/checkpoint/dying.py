"""A program that saves checkpoints in processes which are killed, each at another moment, and prints what each left behind.

`python -m tests.checkpoint.dying FOLDER MOMENTS` kills at each step in turn; with `clock` at the end, at times instead.
"""

import json
import os
import signal
import sys
from itertools import count
from pathlib import Path

from decoupled.checkpoint import Store
from tests.checkpoint.saved import checkpoint, is_as_saved

STEPS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "shutil.rmtree")  # audited by Python
TICK_S = 0.001


def microbatch_of(number: int) -> int:
    """That of the checkpoint saved so many before; each comes twice."""
    return number // 2 * 10 + 10


def die_at_step(moment: int) -> None:
    """Has this process killed just before it goes so many steps further with its files."""
    steps = count()

    def step(event: str, _: object) -> None:
        if event in STEPS and next(steps) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(step)


def die_at_time(moment: int) -> None:
    """Has the kernel kill this process some time from now, whatever it is doing: nobody here handles the signal."""
    signal.setitimer(signal.ITIMER_REAL, (moment + 1) * TICK_S)


def save_until_killed(folder: Path, moment: int, is_by_clock: bool, progress: int) -> None:
    os.fsync = lambda _: None  # type: ignore[assignment]  # what a process wrote outlives it, so the disk need not be waited for
    store = Store(folder, 1, print)
    for number in count():
        store.save(checkpoint(microbatch_of(number), size=1 << 10, number=number))
        store.finish()
        os.write(progress, b".")
        if number == 0:
            (die_at_time if is_by_clock else die_at_step)(moment)


def main(folder: Path, moments: int, is_by_clock: bool) -> None:
    for moment in range(moments):
        mine, its = os.pipe()
        here = folder / str(moment)
        if (child := os.fork()) == 0:
            save_until_killed(here, moment, is_by_clock, its)
        os.close(its)
        how = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with open(mine, "rb") as progress:
            finished = len(progress.read()) - 1  # the number of the last one that was finished
        said = list[str]()
        found = Store(here, 1, said.append).latest()
        number = found.about["number"] if found is not None else -1
        is_sound = is_as_saved(found, checkpoint(microbatch_of(number), size=1 << 10, number=number))
        print(json.dumps({"how": how, "finished": finished, "found": number, "is_sound": is_sound, "said": said}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] == ["clock"])
