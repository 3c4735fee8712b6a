"""The runtime: workers that run a stage by a schedule over a transport, and the coordinator that feeds and replaces them.

May import: schedules, nn, wire, transport, data, checkpoint, telemetry, config. Membership, recovery, supervision, the snapshot
barrier and the data stream are pure: they decide, and others act.
Must not know: how processes are started, the command line, or what a person looks at.
"""
