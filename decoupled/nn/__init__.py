"""The maths: what a stage and a model are, and both in numpy: layers, losses, initialisation, optimisers, heads.

May import: numpy, numba, the registry and tensors.
Must not know: sockets, messages, clocks, files, processes, or which schedule calls it.

Legend of shapes: B samples in a microbatch, D inputs, H outputs of a layer, C outputs of the network, R width of a head.

One convention holds everywhere. The gradient of an activation is per sample, B x H, and is *not* divided by B, so
that its scale does not depend on the batch size. The gradient of a parameter is the sum over the samples. An optimiser is
told how many samples the sum holds, and divides.
"""
