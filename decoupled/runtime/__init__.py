"""Where the rooms meet: workers that hold a stage, a schedule and a transport, and the coordinator that feeds them.

May know: everything below. Membership, recovery and feed are pure: who is which stage, what follows when a worker is lost, and
what comes next.
Must never know: how processes are started, the command line, or what a person looks at.
"""
