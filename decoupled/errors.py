"""The one kind of error a user sees: a sentence that says what is wrong and what to do."""


class DecoupledError(Exception):
    """Something the user can mend. The command line prints the sentence and exits with `exit_code`, without a traceback."""

    exit_code = 1


class UsageError(DecoupledError):
    """An option, a setting or an input file is not usable as it was given."""

    exit_code = 2


class RunFailed(DecoupledError):
    """A run ended early: a worker died, a peer vanished, a port was taken."""


class Diverged(RunFailed):
    """The loss, or the trained weights, were no numbers any more, so the run was ended."""

    exit_code = 3
