"""Transports: carry messages over named links, by ZeroMQ or within one process.

May import: the wire, sockets and their limits.
Must not know: the maths, the schedules, or what a message means. A send never blocks; what a full queue refuses waits
in an outbox, whose length the protocol bounds (credit for activations, the stash for gradients).
"""
