"""A stranger that floods inboxes over real sockets: `python -m tests.fuzz.flood --frames 1000000 tcp://127.0.0.1:5555 ...`

Changed messages, random bytes, announcements of frames too large to hold, bytes of other protocols, and connections that
are made and dropped. Most go as fast as they are taken.
"""

import argparse
import contextlib
import json
import random
import socket
import struct
import time
import warnings
from itertools import cycle

import zmq

from decoupled.wire.codec import Frame
from tests.fuzz.codec import damaged
from tests.fuzz.forge import Choices, warped
from tests.fuzz.originals import originals
from tests.wire.frames import as_sent

NAMES = ("feed", "downstream", "upstream", "coordinator", "worker-0", "upstream-0-0-1", "stranger-1", "stranger-2")
DIFFERENT = 5_000  # messages, sent again and again
RAW_EVERY = 200  # so many messages to one connection that is made and dropped
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)  # of ZMTP 3.0
READY = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
HELD = 1 << 20  # bytes of a frame that is begun and never ended
STUCK_S = 60.0


def messages(rng: random.Random) -> list[list[Frame]]:
    """Hostile messages of every sort, as frames."""
    found: list[list[Frame]] = [as_sent(message) for message in originals()]
    while len(found) < DIFFERENT:
        choices = Choices(rng.randbytes(64))
        message = warped(choices, choices.pick(originals()))
        with contextlib.suppress(OverflowError):  # more than a header can say
            found.append(damaged(choices, message))
        found.append([rng.randbytes(rng.randrange(200)) for _ in range(rng.randrange(1, 5))])
    return found


def raw(rng: random.Random, size: int) -> list[bytes]:
    """What is said on a connection that knows no messages, or no limits."""
    hello = GREETING + b"\x04" + bytes([len(READY)]) + READY
    return [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        rng.randbytes(512),
        GREETING[: rng.randrange(len(GREETING))],
        hello,
        hello + b"\x02" + struct.pack(">Q", size),  # at once too large
        hello + b"\x02" + struct.pack(">Q", 2**63 - 1) + bytes(100),
        hello + b"\x03" + struct.pack(">Q", HELD) + bytes(HELD // 2),
        hello + b"\x01\x01x" * 1000,  # frames of a message that does not end
    ]


def flood(addresses: list[str], count: int, seed: int) -> tuple[int, dict[str, int], int]:
    """Sends so many messages to all of the addresses together; gives these, the bytes to each, and the raw connections made."""
    rng = random.Random(seed)
    hostile, connections, sent, sizes = cycle(messages(rng)), 0, 0, dict.fromkeys(addresses, 0)
    with zmq.Context() as context, contextlib.ExitStack() as stack:
        sockets = []
        for address in addresses:
            for name in NAMES:
                stranger = stack.enter_context(context.socket(zmq.DEALER))
                stranger.setsockopt(zmq.SNDHWM, 16)  # so that what counts as sent has left, or nearly
                stranger.setsockopt(zmq.LINGER, 60_000)
                stranger.setsockopt_string(zmq.ROUTING_ID, name)
                stranger.connect(address)
                sockets.append((address, stranger))
        moved_at = time.monotonic()
        while sent < count:
            for address, stranger in rng.sample(sockets, len(sockets)):
                with contextlib.suppress(zmq.Again):
                    for _ in range(16):
                        stranger.send_multipart(frames := next(hostile), zmq.DONTWAIT)
                        sizes[address] += sum(map(len, frames))
                        sent, moved_at = sent + 1, time.monotonic()
                with contextlib.suppress(zmq.Again):
                    stranger.recv_multipart(zmq.DONTWAIT)
            if time.monotonic() - moved_at > STUCK_S:
                raise SystemExit(f"nothing was taken for {STUCK_S:g} s after {sent} messages")
            while connections < sent // RAW_EVERY:
                connections += 1
                _drop_in(rng.choice(addresses), rng.choice(raw(rng, 2**62)))
    return sent, sizes, connections


def _drop_in(address: str, said: bytes) -> None:
    host, port = address.removeprefix("tcp://").rsplit(":", 1)
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(said)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.flood")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("addresses", nargs="+")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of numpy, about what hostile numbers come to
    since = time.monotonic()
    sent, sizes, connections = flood(options.addresses, options.frames, options.seed)
    seconds = time.monotonic() - since
    rate = {"messages": sent, "connections": connections, "seconds": seconds, "messages_per_s": sent / seconds}
    print(json.dumps(rate | {"bytes": list(sizes.values())}))


if __name__ == "__main__":
    main()
