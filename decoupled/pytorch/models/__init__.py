"""Models to train and to copy from: each file is a function that gives a list of blocks, and plain modules."""
