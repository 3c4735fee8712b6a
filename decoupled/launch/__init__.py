"""The launching room: a run as processes. It plans their commands and environments, starts them and ends them.

May know: processes, the coordinator it runs beside them.
Must never know: what travels between the processes.
"""
