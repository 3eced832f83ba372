"""The two ways of deploying a stage: step by step with Chalice, and the package of a pipeline as one stack."""

import json
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import ClientError, WaiterError

from infra.deploy import Failed, account, description, package, plan
from infra.deploy.executor import Executor
from infra.deploy.plan import DeployApp, DeployStack
from infra.deploy.running import Running
from infra.deploy.stacks import Stacks
from infra.smoke.place import Place

BUILD = description.ROOT / "build/smoke"

_PATIENT = {"Delay": 5, "MaxAttempts": 720}


class Way(Protocol):
    """A way of deploying one stage."""

    name: str
    #: Whether what an earlier stack has kept is taken in by the next.
    takes_in: bool

    def deploy(self) -> list[str]:
        """Make or update the stage and return what changed, a line each; raise `Failed`."""

    def outputs(self) -> Mapping[str, str]:
        """Return the outputs of the stage's stacks."""

    def destroy(self) -> None:
        """Take the stage down, but for its data; raise `Failed`."""


class ChaliceWay:
    """``atoll deploy``."""

    name = "chalice"
    takes_in = True

    def __init__(self, place: Place, stage: str, asked: Mapping[str, str], address: Mapping[str, str] | None) -> None:
        self._place, self._stage, self._asked, self._address = place, stage, dict(asked), address

    def deploy(self) -> list[str]:
        """Carry out the plan and return what changed in the stacks."""
        found = account.look(self._place.session, self._stage)
        executor = Executor(self._place.session, found, self._stage, BUILD)
        changes = []
        for step in plan.to_deploy(self._stage, self._asked, found, self._address):
            lines = executor.run(step, dry_run=False)
            # Chalice compares nothing, and sends all functions anew.
            changes += [] if isinstance(step, DeployApp) else [f"{_name(step)}: {line}" for line in lines]
        return changes

    def outputs(self) -> Mapping[str, str]:
        """Return the outputs of all stacks together."""
        stacks = Stacks(self._place.session, self._stage)
        found: dict[str, str] = {}
        for suffix in ("", "-events", "-address"):
            found |= stacks.outputs(f"atoll-{self._stage}{suffix}")
        return found

    def destroy(self) -> None:
        """Carry out the plan of a destruction."""
        found = account.look(self._place.session, self._stage)
        executor = Executor(self._place.session, found, self._stage, BUILD)
        for step in plan.to_destroy(self._stage, found, executions=0, tasks=0):
            executor.run(step, dry_run=False)


def _name(step: Any) -> str:
    return step.stack if isinstance(step, DeployStack) else type(step).__name__


class PackagedWay:
    """``--package``, and one stack of it, as a pipeline makes it."""

    name = "package"
    takes_in = False

    def __init__(self, place: Place, stage: str, asked: Mapping[str, str]) -> None:
        self._place, self._stage, self._asked = place, stage, dict(asked)
        self._client = place.session.client("cloudformation")
        self._s3 = place.session.client("s3")
        self._stack = f"atoll-{stage}"
        self._uploaded = ""

    def packaged(self) -> Path:
        """Make the package and return its template's path."""
        return package.make(Path(tempfile.mkdtemp(prefix="atoll-smoke-")), self._stage)

    def deploy(self) -> list[str]:
        """Create the stack, or update it with the same package."""
        found = account.look(self._place.session, self._stage)
        if not self._uploaded:
            self._uploaded = self._upload(found.account, found.region)
        limits = plan.fitting_limits(description.reserved(self._stage), found)
        values = {f"{description.logical_id(name)}Concurrency": str(limit or 0) for name, limit in limits.items()}
        values |= {"VpcId": found.default_vpc, "Subnets": ",".join(found.default_subnets)} | self._asked
        there = Stacks(self._place.session, self._stage).made(self._stack) is not None
        change = self._client.update_stack if there else self._client.create_stack
        try:
            change(
                StackName=self._stack,
                TemplateURL=self._uploaded,
                Capabilities=["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
                Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()],
            )
        except ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise
            return [f"{self._stack}: nothing to change"]
        self._wait("stack_update_complete" if there else "stack_create_complete")
        return [f"{self._stack}: {'updated' if there else 'created'}"]

    def _upload(self, account_id: str, region: str) -> str:
        """Put zip and template into a bucket and return the template's URL."""
        bucket = f"atoll-{self._stage}-smoke-{account_id}-{region}"
        where: Any = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        self._s3.create_bucket(Bucket=bucket, **where)
        file = self.packaged()
        self._s3.upload_file(str(file.with_name("deployment.zip")), bucket, "deployment.zip")
        template = json.dumps(self._place.adapted(json.loads(file.read_text())))
        template = template.replace('"./deployment.zip"', f'"s3://{bucket}/deployment.zip"')
        self._s3.put_object(Bucket=bucket, Key="template.json", Body=template.encode())
        endpoint = str(self._s3.meta.endpoint_url).rstrip("/")
        return f"{endpoint}/{bucket}/template.json"

    def outputs(self) -> Mapping[str, str]:
        """Return the outputs of the stack."""
        return Stacks(self._place.session, self._stage).outputs(self._stack)

    def destroy(self) -> None:
        """Stop what runs and delete the stack."""
        found = account.look(self._place.session, self._stage)
        Running(self._place.session, found, self._stage).end()
        self._client.delete_stack(StackName=self._stack)
        self._wait("stack_delete_complete")

    def _wait(self, waiter: str) -> None:
        try:
            self._client.get_waiter(waiter).wait(StackName=self._stack, WaiterConfig=_PATIENT)
        except WaiterError as error:
            reasons: list[str] = []
            with suppress(ClientError):
                events = self._client.describe_stack_events(StackName=self._stack)["StackEvents"]
                failed = [each for each in events if each["ResourceStatus"].endswith("_FAILED")]
                reasons = [f"{e['LogicalResourceId']}: {e.get('ResourceStatusReason', '')}" for e in failed]
            raise Failed(f"{self._stack}: {'; '.join(reasons[-5:]) or error}") from error
        # A stack that was just made is eventually seen by name everywhere.
        time.sleep(self._place.pace.look_s)
