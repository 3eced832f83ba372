"""The files of an agent's options on this machine: what the container that runs before the agent's does on AWS."""

import base64
import io
import shutil
import tarfile
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from chalicelib.aws.task_overrides import OPTIONS_DIRECTORY, OPTIONS_TOKEN, OPTIONS_URL

FETCH_S = 30.0


class OptionFiles:
    """A folder of this machine that only its user can read, with the files of one task."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Fetch the files as the environment of the container says; raise ``OSError`` when that fails."""
        self.folder = Path(tempfile.mkdtemp(prefix="atoll-options-"))
        if OPTIONS_URL not in environment:
            return
        request = urllib.request.Request(
            environment[OPTIONS_URL], headers={"Authorization": f"Bearer {environment[OPTIONS_TOKEN]}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=FETCH_S) as answer:
                content = base64.b64decode(answer.read())
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                tar.extractall(self.folder, filter="data")
        except (OSError, ValueError, tarfile.TarError) as error:
            self.remove()
            raise OSError(f"the files of options cannot be fetched: {error}") from error

    def located(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the agent with the paths that the files really have: a process has no mounts."""
        names = {folder.name for folder in self.folder.iterdir()}
        return {
            name: value.replace(f"{OPTIONS_DIRECTORY}/", f"{self.folder}/") if name in names else value
            for name, value in environment.items()
        }

    def remove(self) -> None:
        """Delete the files."""
        shutil.rmtree(self.folder, ignore_errors=True)
