"""The command ``atoll``: everything that a person does with a server, on this machine or on AWS."""

import sys
import warnings

#: How a command ends, for scripts. What a session ended with is in `atoll.command.endings`.
DONE, FAILED, USAGE, UNREACHABLE, NO_ACCESS, INTERRUPTED = 0, 1, 2, 3, 4, 130


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    try:
        _main()
    except KeyboardInterrupt:  # also while modules are imported
        sys.exit(INTERRUPTED)


def _main() -> None:
    from atoll.command.program import app
    from atoll.command.terminal import complain, warn
    from atoll.errors import AtollError, AtollWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", AtollWarning)
            warnings.showwarning = lambda message, *_: warn(str(message))
            app(prog_name="atoll")
    except AtollError as error:
        complain(str(error))
        sys.exit(code_of(error))


def code_of(error: Exception) -> int:
    """Return the exit code of an error."""
    from atoll.errors import Forbidden, Unauthorized, Unreachable

    if isinstance(error, Unreachable):
        return UNREACHABLE
    if isinstance(error, Unauthorized | Forbidden):
        return NO_ACCESS
    return getattr(error, "exit_code", FAILED)
