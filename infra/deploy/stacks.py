"""The stacks of one stage. Each change is a change set first, which CloudFormation works out and people can look at."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import boto3
from botocore.exceptions import ClientError, WaiterError

from infra.deploy import Failed, description
from infra.deploy.plan import Kept

#: A stack that is in one of these states was never made.
NEVER_MADE = ("REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_COMPLETE")

#: So is one in these, unless it has resources: an import was rolled back that was to make it.
IMPORT_FAILED = ("IMPORT_ROLLBACK_COMPLETE", "IMPORT_ROLLBACK_FAILED")

#: An hour: a table with its indexes takes minutes.
_PATIENT = {"Delay": 3, "MaxAttempts": 1200}

_SIGNS = {"Add": "+", "Modify": "~", "Remove": "-", "Import": ">"}


class Stacks:
    """Makes, changes and deletes stacks; raises `Failed` with CloudFormation's reason."""

    def __init__(self, session: boto3.Session, stage: str) -> None:
        self._tags = [{"Key": "atoll:stage", "Value": stage}]
        self._client = session.client("cloudformation")

    def find(self, stack: str) -> dict[str, Any] | None:
        """Return a stack as CloudFormation describes it; ``None`` when it does not exist."""
        try:
            return dict(self._client.describe_stacks(StackName=stack)["Stacks"][0])
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise

    def made(self, stack: str) -> dict[str, Any] | None:
        """Return a stack that was made; ``None`` when it was not, or its creation has failed."""
        status = self.status(stack)
        if status in NEVER_MADE or (status in IMPORT_FAILED and self._is_empty(stack)):
            return None
        return self.find(stack)

    def failed(self, stack: str) -> bool:
        """Return whether a stack is there whose creation has failed: it can only be deleted."""
        return self.status(stack).startswith(("ROLLBACK", "IMPORT_ROLLBACK")) and self.made(stack) is None

    def _is_empty(self, stack: str) -> bool:
        found = self._client.describe_stack_resources(StackName=stack)["StackResources"]
        return all(each["ResourceStatus"] == "DELETE_COMPLETE" for each in found)

    def status(self, stack: str) -> str:
        """Return a stack's status; ``DELETE_COMPLETE`` when it does not exist."""
        return str((self.find(stack) or {"StackStatus": "DELETE_COMPLETE"})["StackStatus"])

    def outputs(self, stack: str) -> dict[str, str]:
        """Return the outputs of a stack; none when it is not there, or was never finished."""
        found = self.made(stack) or {}
        return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}

    def parameters(self, stack: str) -> dict[str, str]:
        """Return the parameters of a stack; none when it is not there, or was never finished."""
        found = self.made(stack) or {}
        return {each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", [])}

    def change(
        self,
        stack: str,
        template: description.Template,
        values: Mapping[str, str],
        kept: Sequence[Kept] = (),
        *,
        dry_run: bool,
    ) -> list[str]:
        """Create or update a stack, or make it by importing kept resources, and return the changes, a line each.

        ``values`` are those of parameters; one that is left out keeps its value. A dry run changes nothing.
        """
        there = self.made(stack)
        kind = "IMPORT" if kept else "UPDATE" if there else "CREATE"
        if not dry_run and self.failed(stack):
            self.delete(stack)
        before = {each["ParameterKey"] for each in (there or {}).get("Parameters", [])}
        parameters = [
            {"ParameterKey": name, "ParameterValue": values[name]}
            if name in values
            else {"ParameterKey": name, "UsePreviousValue": True}
            for name in template["Parameters"]
            if name in values or name in before
        ]
        # An import may add no tags: the update that follows does.
        more = {"ResourcesToImport": [_import(each) for each in kept]} if kept else {"Tags": self._tags}
        which = {"StackName": stack, "ChangeSetName": f"deploy-{time.time_ns() // 1_000_000}"}
        try:
            self._client.create_change_set(
                **which,
                ChangeSetType=kind,
                TemplateBody=description.body(template),
                Parameters=parameters,
                Capabilities=["CAPABILITY_NAMED_IAM"],
                **more,
            )
            changes = self._changes(which)
            if changes is None or dry_run:
                self._client.delete_change_set(**which)
            else:
                self._client.execute_change_set(**which)
                self._wait(f"stack_{kind.lower()}_complete", stack)
        finally:
            # A change set of a new stack brings the stack into being.
            if self.status(stack) == "REVIEW_IN_PROGRESS":
                self.delete(stack)
        return ["nothing to change"] if changes is None else changes or ["no resources, only outputs or tags"]

    def _changes(self, which: Mapping[str, str]) -> list[str] | None:
        """Wait for a change set and return what it does to resources; ``None`` when it does nothing at all."""
        try:
            waiter = self._client.get_waiter("change_set_create_complete")
            waiter.wait(**which, WaiterConfig={**_PATIENT, "Delay": 1})
        except WaiterError as error:
            reason = self._client.describe_change_set(**which).get("StatusReason", str(error))
            if "didn't contain changes" in reason or "No updates" in reason:
                return None
            raise Failed(f"{which['StackName']}: {reason}") from error
        pages = self._client.get_paginator("describe_change_set").paginate(**which)
        return [_line(each["ResourceChange"]) for page in pages for each in page["Changes"]]

    def delete(self, stack: str) -> None:
        """Delete a stack."""
        self._client.delete_stack(StackName=stack)
        self._wait("stack_delete_complete", stack)

    def _wait(self, waiter: str, stack: str) -> None:
        try:
            self._client.get_waiter(waiter).wait(StackName=stack, WaiterConfig=_PATIENT)
        except WaiterError as error:
            events = self._client.describe_stack_events(StackName=stack)["StackEvents"]
            reasons = [
                f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
                for event in events
                if event["ResourceStatus"].endswith("_FAILED") and "ResourceStatusReason" in event
            ]
            raise Failed(f"{stack}: " + ("; ".join(reasons[-5:]) or str(error))) from error


def _import(kept: Kept) -> dict[str, Any]:
    return {
        "ResourceType": kept.type,
        "LogicalResourceId": kept.logical_id,
        "ResourceIdentifier": dict(kept.identifier),
    }


def _line(change: Mapping[str, Any]) -> str:
    """Return one change as a line: ``~ Events::Rule ReconcileRule (atoll-dev-reconcile), replacement: True``."""
    line = f"{_SIGNS.get(change['Action'], change['Action'])} {change['ResourceType'].removeprefix('AWS::')}"
    line += f" {change['LogicalResourceId']}"
    line += f" ({change['PhysicalResourceId']})" if change.get("PhysicalResourceId") else ""
    return line + (f", replacement: {change['Replacement']}" if change.get("Replacement", "False") != "False" else "")
