"""ministack: another emulator of AWS, as a process of its own, with IAM's policies enforced."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.config import Config

from tests import environments

HERE = Path(__file__).parent
REGION = "us-east-1"

#: It starts as `python -m ministack` does, and imports secrets into stacks besides: it keeps them, but imports none.
#: When the process that started it is gone, killed or not, its standard input ends, and it ends with its group.
START = """
import os, signal, sys, threading

def end_with_owner():
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)

threading.Thread(target=end_with_owner, daemon=True).start()

from ministack.services import secretsmanager
from ministack.services.cloudformation import provisioners

def found(identifier):
    arn = identifier["Id"]
    [name] = [name for name, secret in secretsmanager._secrets.items() if secret["ARN"] == arn]
    return name, {"Id": arn, "Arn": arn}

provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"]["import"] = found

from ministack.app import main
main()
"""

#: The credentials of the account's owner, who may do everything.
OWNER = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


class Ministack:
    """One running ministack on a free port of loopback."""

    def __init__(self, programs: Path | None = None, *, enforces_policies: bool = True) -> None:
        self._programs = programs or environments.programs("ministack", HERE / "requirements.txt")
        self._enforces_policies = enforces_policies

    def __enter__(self) -> Self:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._folder = tempfile.mkdtemp(prefix="ministack-")
        self.log = Path(self._folder) / "log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ATOLL_"))}
        environment = {
            **inherited,
            "GATEWAY_PORT": str(port),
            "BIND_HOST": "127.0.0.1",
            "STATE_DIR": f"{self._folder}/state",
            "TMPDIR": self._folder,
            "AUTH": str(self._enforces_policies).lower(),
            "LAMBDA_EXECUTOR": "local",
        }
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [self._programs / "python", "-c", START],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Its workers are children of its own: the group ends with it.
                start_new_session=True,
            )
        self._await()
        return self

    def __exit__(self, *_: object) -> None:
        # With the workers of its functions, which are in the group that it leads. It keeps nothing worth a farewell.
        os.killpg(os.getpgid(self._process.pid), signal.SIGKILL)
        self._process.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _await(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=1)
                return
            except (urllib.error.URLError, OSError):
                if self._process.poll() is not None:
                    break
                time.sleep(0.05)
        raise AssertionError(f"ministack does not start: {self.log.read_text()[-1000:]}")

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process use it as its AWS."""
        return {**OWNER, "AWS_ENDPOINT_URL": self.url, "AWS_DEFAULT_REGION": REGION, "AWS_REGION": REGION}

    def client(self, service: str) -> Any:
        """Return a boto3 client of the account's owner."""
        return boto3.client(  # type: ignore[call-overload]  # of any service
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=OWNER["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=OWNER["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"total_max_attempts": 1}),
        )
