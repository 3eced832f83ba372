"""Writes its environment, and the content of its files in hex, to the path that an option names."""

import json
import os
import time
from pathlib import Path

FILES = ("FRACTION", "PAGES", "KEY")
files = {
    name: [[path, Path(path).read_bytes().hex()] for path in os.environ[name].split(os.pathsep) if path]
    for name in FILES
    if name in os.environ
}
report = Path(os.environ["REPORT_TO"])
written = report.with_suffix(".new")
written.write_text(json.dumps({"environment": dict(os.environ), "files": files}))
written.rename(report)
if os.environ["WAIT"] == "1":
    time.sleep(600)
