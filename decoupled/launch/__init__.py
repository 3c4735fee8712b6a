"""Launching: a run as processes. It plans their commands and environments, starts them and ends them.

May import: the runtime, processes, and ray where it is installed.
Must not know: what travels between the processes.
"""
