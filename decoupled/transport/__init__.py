"""Transports: carry messages by named links, over ZeroMQ or within one process.

May know: the wire, sockets and their limits.
Must never know: the maths, the schedules, or what a message means. A send never blocks; what a full queue refuses waits
in an outbox, whose length the protocol bounds (credit for activations, the stash for gradients).
"""
