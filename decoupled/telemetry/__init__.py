"""Telemetry: what each worker did and when, and what that says about the run.

May import: numpy, the kinds of actions, and files to write records to.
Must not know: sockets, the state of schedules, or the maths. Nothing here decides anything.
"""
