"""Benchmarks: the same run under different schedules, and in PyTorch, side by side.

May import: the api that trains a run, child processes, and torch where it is installed.
Must not know: how a schedule decides or a stage computes. It sees a run from outside, as its users do.
"""
