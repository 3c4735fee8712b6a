"""Fuzzes the codec: any frames are a message or a WireError, and a message comes back the same when it is sent on."""

import tracemalloc

from decoupled.wire.codec import Frame, WireError, decode, encode
from decoupled.wire.messages import Message
from tests.fuzz.forge import Choices, warped
from tests.fuzz.originals import originals
from tests.wire.frames import as_sent

INPUT_BYTES_MAX = 4096
MESSAGE_BYTES_MAX = 1 << 20
SPLIT = b"\xa5|\x5a"  # between the frames of an input


def seeds() -> list[bytes]:
    """Every kind of message as it is sent, and a few ways to change one."""
    whole = [b"\0" + SPLIT.join(map(bytes, as_sent(message))) for message in originals()]
    return [seed for seed in whole if len(seed) < INPUT_BYTES_MAX] + [bytes([1, n, n, n, n]) for n in range(64)]


def one_input(data: bytes) -> None:
    """The frames as they are in the input, or those of a changed message with some of their bytes changed."""
    choices = Choices(data)
    if choices.below(2) == 0:
        frames: list[Frame] = [*data[1:].split(SPLIT)]
    else:
        frames = damaged(choices, warped(choices, choices.pick(originals())))
    tracemalloc.start()
    try:
        message = decode(frames, MESSAGE_BYTES_MAX)
    except WireError:
        return
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 64 * MESSAGE_BYTES_MAX, f"{most} bytes for frames of {sum(map(len, frames))}"
    _comes_back(message)


def damaged(choices: Choices, message: Message) -> list[Frame]:
    """The frames of a message, some of them cut, lengthened, swapped or with other bytes."""
    frames = as_sent(message)
    for _ in range(choices.below(3)):
        at = choices.below(len(frames))
        frame = bytes(frames[at])
        cut = choices.below(len(frame) + 1)
        match choices.below(5):
            case 0:
                frames[at] = frame[:cut]
            case 1:
                frames[at] = frame + choices.take(8)
            case 2:
                frames[at] = frame[:cut] + choices.take(2) + frame[cut + 2 :]
            case 3:
                frames.append(choices.take(8))
            case _:
                frames[at], frames[0] = frames[0], frames[at]
    return frames


def _comes_back(message: Message) -> None:
    again = decode(as_sent(message))
    assert encode(again)[0] == encode(message)[0]
    for one, other in zip(message.tensors, again.tensors, strict=True):
        assert not one.flags.writeable
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()
