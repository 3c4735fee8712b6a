"""The decision room: for each schedule, what one stage does next.

May know: microbatch numbers, and its own events and actions.
Must never know: arrays, sockets, clocks, randomness or logs. Whoever holds a schedule tells it what happened
(`receive`) and asks it what to do (`next_action`); the same schedule drives a worker process and the simulator.
"""
