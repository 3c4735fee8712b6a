"""Benchmarks: the same run under different schedules, and in PyTorch, side by side.

May know: the api that trains a run, child processes, and torch where it is installed.
Must never know: how a schedule decides or a stage computes; it sees a run from outside, as its users do.
"""
