"""The doctor: what goes wrong in practice, on this machine and between it and a coordinator, and what to do about it.

May know: everything below; it measures the machine and asks a coordinator, as a worker would come to it.
Must never know: how it is called. What was measured is judged by pure functions (machine, way), apart from what measures
(probes, ports, status_client); `examine` puts both together.
"""
