"""The watching room: a run while it goes on, or after it, in a browser, in a terminal, for Prometheus.

May know: the files of a run's folder, of which it only reads.
Must never know: the processes that train. Whoever watches, or does not, changes nothing.
"""
