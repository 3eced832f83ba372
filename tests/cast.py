"""The picture of a followed session in the README: ``make cast`` writes docs/first.svg.

The program is run as it is, against a local stack of its own.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from infra.local.stack import LocalStack

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs/first.svg"
FILE = "examples/first.yaml"
COLUMNS = 104

#: Nothing is loaded from elsewhere by who looks at it.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def main() -> int:
    """Run a session, and draw what was shown."""
    with LocalStack(port=0) as stack:
        # Colours, and no lanes that are drawn again and again: a picture does not move.
        shown = {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "COLUMNS": str(COLUMNS)}
        environment = {**os.environ, **shown, "ATOLL_URL": stack.url, "ATOLL_API_KEY": stack.key}
        command = [sys.executable, "-m", "atoll", "run", FILE, "--follow"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, highlight=False)
        console.print(Text.assemble(("$ ", "dim"), (f"atoll run {FILE} --follow", "bold")))
        console.print(Text.from_ansi(done.stdout))
        picture = console.export_svg(title="atoll", code_format=FORMAT, unique_id="first")
    PICTURE.write_text(picture.rstrip("\n") + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
