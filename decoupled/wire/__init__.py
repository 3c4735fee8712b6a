"""The wire: messages between processes, and their form in frames.

May import: msgpack, numpy.
Must not know: sockets, processes, or what a message is for. It never unpickles, and checks sizes before it allocates.
"""
