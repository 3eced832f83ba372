"""Makes the pictures of the console in ``docs/console``: ``make screenshots``."""

import os
import subprocess
import sys
from pathlib import Path

from infra.local.stack import LocalStack
from tests import environments
from tests.console import models

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CAST = [*(HERE / "cast").glob("*/"), ROOT / "agents/puppet", ROOT / "agents/echo"]


def main() -> int:
    """Play a session in front of a browser; return its exit status."""
    folder = ROOT / "docs/console"
    folder.mkdir(exist_ok=True)
    cast = [each for each in CAST if (each / "coral-agent.toml").exists()]
    with models.offline() as llm_proxy, LocalStack(agents=cast, llm_proxy=llm_proxy) as stack:
        environment = {**os.environ, "ATOLL_URL": stack.url, "ATOLL_API_KEY": stack.key, "PICTURES": str(folder)}
        return subprocess.run(
            [environments.node(HERE), str(HERE / "screenshots.mjs")], env=environment, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
