"""The records room: what each worker did and when, and what that says about the run.

May know: numbers and times that others measured, and files to write records to.
Must never know: sockets, schedules, or the maths. Nothing here decides anything.
"""
