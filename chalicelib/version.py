"""Atoll's version, defined only here.

`pyproject.toml` reads it from here, because a Lambda's package has this file and not that one.
"""

VERSION = "0.1.0"
