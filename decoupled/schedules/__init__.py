"""Schedules: for each one, what a stage does next; its two links as pure state.

May import: nothing but each other and the registry. They see microbatch numbers, events and actions.
Must not know: arrays, sockets, clocks, randomness or logs. Whoever holds a schedule tells it what happened (`receive`) and
asks it what to do (`next_action`); the same schedule drives a worker process and the simulator.
"""
