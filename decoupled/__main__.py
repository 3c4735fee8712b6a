"""python -m decoupled: the same as the command `decoupled`."""

from decoupled.cli import main

main()
