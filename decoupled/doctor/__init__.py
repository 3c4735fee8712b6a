"""The doctor: what commonly goes wrong on this machine and between it and a coordinator, and what to do about it.

May import: everything below the command line. It measures the machine, and connects to a coordinator as a worker would.
Must not know: how it is called. Pure functions judge (machine, reachability); others measure (probes, ports, status_client);
`examine` puts both together.
"""
