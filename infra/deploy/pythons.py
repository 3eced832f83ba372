"""Which Pythons deploy Atoll. Functions run on the one that runs the deployment: Chalice knows no other.

Each is one of Lambda's, Chalice has an ABI for it, and all that a function carries has wheels for it. They are the
classifiers of ``pyproject.toml``, and written nowhere else in the code.
"""

import re
import sys

from infra.deploy import Failed, description

Version = tuple[int, int]


def supported() -> list[Version]:
    """Return the versions, the oldest first."""
    text = (description.ROOT / "pyproject.toml").read_text()
    found = re.findall(r'^ *"Programming Language :: Python :: (\d+)\.(\d+)",$', text, re.MULTILINE)
    return sorted((int(major), int(minor)) for major, minor in found)


def written(version: Version) -> str:
    """Return a version as people write it: ``3.12``."""
    return f"{version[0]}.{version[1]}"


def in_words() -> str:
    """Return the versions as documents name them: ``3.11 to 3.15``."""
    return f"{written(supported()[0])} to {written(supported()[-1])}"


def refuse_others(version: Version = sys.version_info[:2]) -> None:
    """Raise `Failed` for a Python on which functions would not run."""
    if version not in supported():
        raise Failed(f"Python {written(version)} runs this command, and would run the functions: use {in_words()}")
