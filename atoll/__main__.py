"""``python -m atoll``: the command."""

from atoll.command import main

main()
