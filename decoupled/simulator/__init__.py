"""The simulator: runs schedules on paper, over devices and links of any speed that fail now and then.

Event by event, no arrays, no clock. The schedules are those that drive the workers; what surrounds them (links, the
coordinator, checkpoints, replacements) follows the product's rules.

May import: schedules, errors, pydantic.
Must not know: runs, processes, sockets.
"""
