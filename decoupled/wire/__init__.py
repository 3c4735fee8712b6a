"""The wire: what processes say to each other, and its form in frames.

May know: msgpack and the bytes of arrays.
Must never know: sockets, processes, or what a message is for. It never unpickles, and checks sizes before it allocates.
"""
