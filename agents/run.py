"""Run one of the agents beside this file: `python run.py echo` does the work of `echo/agent.py`."""

import os
import signal
import sys
from types import FrameType


def end(_signal: int, _frame: FrameType | None) -> None:
    """Leave at once: an agent keeps nothing that would have to be put away."""
    os._exit(0)


def main() -> int:
    """Run the agent that the command line names; returns its exit status."""
    # First of all: as process 1 of a container this would else ignore SIGTERM, and the imports below take their time.
    signal.signal(signal.SIGTERM, end)
    if len(sys.argv) != 2 or "CORAL_CONNECTION_URL" not in os.environ:
        print("usage: python run.py AGENT, with the MCP endpoint of a session in CORAL_CONNECTION_URL", file=sys.stderr)
        return 2

    import asyncio
    import importlib

    import coral_agent

    agent = importlib.import_module(f"{sys.argv[1]}.agent")
    return asyncio.run(coral_agent.run(agent.work))


if __name__ == "__main__":
    sys.exit(main())
