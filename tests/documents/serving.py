"""What `atoll up FOLDER …` and `make run` are in the documents: the test's server follows the folders already.

    python -m tests.documents.serving [FOLDER ...]

waits until the agents of the folders are registered.
"""

import os
import sys
import tomllib
from pathlib import Path

from atoll import Client
from tests.client import eventually

#: How long the server may take to see a new file, in s.
SEEN_S = 30.0


def wait_until_registered(file: Path, url: str) -> None:
    """Wait until the registry of a server of this machine has the agent of a file."""
    agent = tomllib.loads(file.read_text())["agent"]
    with Client(url) as client:
        eventually(lambda: _has(client, agent["name"], agent["version"]), SEEN_S, f"{agent['name']} is registered")


def _has(client: Client, name: str, version: str) -> bool:
    return any(each.name == name and version in each.versions for each in client.registry())


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        wait_until_registered(Path(folder) / "coral-agent.toml", os.environ["ATOLL_URL"])
