"""The maths room: layers, losses, initialisation, optimisers, heads, stages, networks.

May know: numpy and the arrays it is given.
Must never know: sockets, messages, clocks, files, processes, or which schedule calls it.

Legend of shapes: B samples in a microbatch, D inputs, H outputs of a layer, C outputs of the network, R width of a head.

One convention holds in the whole house. The gradient of an activation is per sample, B x H, and is *not* divided by B, so
that its scale does not depend on the batch size. The gradient of a parameter is the sum over the samples. An optimiser is
told how many samples the sum holds, and divides.
"""
