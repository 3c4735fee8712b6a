"""Watching: a run while it goes on, or after it, in a browser, in a terminal, for Prometheus.

May import: the files of a run's folder, which it only reads, and a web server.
Must not know: the processes that train. Watching changes nothing about a run.
"""
