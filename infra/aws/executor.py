"""Carries out the steps of a plan, one after the other."""

import json
import os
import time
from collections.abc import Callable, Mapping
from functools import singledispatchmethod
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError, WaiterError

from infra.aws import account, kept, package, project, templates
from infra.aws.plan import DeleteApp, DeleteStack, DeployApp, DeployTemplate, EndRunning, Found, Step, TakeIn
from infra.aws.running import Running, StillRunning

#: Where Chalice's record of what it deployed is kept, in the bucket of the stage: the next update may be made on
#: another machine, and without the record Chalice would make a second REST API.
RECORD_KEY = "deploy/chalice.json"

_WAIT = {"Delay": 3, "MaxAttempts": 1200}


class Failed(Exception):
    """A step failed; the message says why, as AWS does."""


class Executor:
    """Carries out steps in one account and region."""

    def __init__(
        self, session: boto3.Session, found: Found, stage: str, folder: Path, say: Callable[[str], None]
    ) -> None:
        self._session = session
        self._found = found
        self._stage = stage
        self._project = folder / stage
        self._say = say
        self._cloudformation = session.client("cloudformation")

    def run(self, step: Step) -> None:
        """Carry out one step; raise `Failed` when AWS or Chalice does not go along."""
        try:
            self._carry_out(step)
        except (ClientError, StillRunning) as error:
            raise Failed(str(error)) from error

    @singledispatchmethod
    def _carry_out(self, step: Any) -> None:
        raise TypeError(f"no such step: {step!r}")

    # Stacks

    @_carry_out.register
    def _take_in(self, step: TakeIn) -> None:
        self._existing(step.stack)
        imports = [
            {
                "ResourceType": each.type,
                "LogicalResourceId": each.logical_id,
                "ResourceIdentifier": dict(each.identifier),
            }
            for each in step.kept
        ]
        parameters = [{"ParameterKey": "Stage", "ParameterValue": self._stage}]
        self._change(step.stack, "IMPORT", kept.template(step.kept), parameters, ResourcesToImport=imports)

    @_carry_out.register
    def _deploy_template(self, step: DeployTemplate) -> None:
        template = {"stack": templates.stack, "events": templates.events}[step.template]()
        stack = self._existing(step.stack)
        before = {each["ParameterKey"] for each in stack.get("Parameters", [])} if stack else set()
        parameters = [
            {"ParameterKey": name, "ParameterValue": step.parameters[name]}
            if name in step.parameters
            else {"ParameterKey": name, "UsePreviousValue": True}
            for name in template["Parameters"]
            if name in step.parameters or name in before
        ]
        self._change(step.stack, "UPDATE" if stack else "CREATE", template, parameters)

    def _existing(self, name: str) -> dict[str, Any] | None:
        """Return a stack that can be updated; one whose creation has failed can only be deleted, and is."""
        stack = account.describe(self._session, name)
        if stack is None or stack["StackStatus"] not in account.NEVER_MADE:
            return stack
        if stack["StackStatus"].startswith("ROLLBACK"):
            self._delete(name)
        return None

    def _change(
        self, stack: str, kind: str, template: templates.Template, parameters: list[dict[str, Any]], **more: Any
    ) -> None:
        """Make a change set, ``CREATE``, ``UPDATE`` or ``IMPORT``, and carry it out."""
        name = f"deploy-{time.time_ns() // 1_000_000}"
        if kind != "IMPORT":  # which may add no tags: the update that follows does
            more["Tags"] = [{"Key": "atoll:stage", "Value": self._stage}]
        self._cloudformation.create_change_set(
            StackName=stack,
            ChangeSetName=name,
            ChangeSetType=kind,
            TemplateBody=templates.body(template),
            Parameters=parameters,
            Capabilities=["CAPABILITY_NAMED_IAM"],
            **more,
        )
        try:
            self._cloudformation.get_waiter("change_set_create_complete").wait(
                StackName=stack, ChangeSetName=name, WaiterConfig={**_WAIT, "Delay": 1}
            )
        except WaiterError as error:
            found = self._cloudformation.describe_change_set(StackName=stack, ChangeSetName=name)
            reason = found.get("StatusReason", str(error))
            if "didn't contain changes" in reason or "No updates" in reason:
                self._cloudformation.delete_change_set(StackName=stack, ChangeSetName=name)
                self._say("nothing to change")
                return
            raise Failed(f"{stack}: {reason}") from error
        self._cloudformation.execute_change_set(StackName=stack, ChangeSetName=name)
        self._wait(f"stack_{kind.lower()}_complete", stack)

    @_carry_out.register
    def _delete_stack(self, step: DeleteStack) -> None:
        if account.describe(self._session, step.stack) is None:
            self._say("it is not there")
            return
        self._delete(step.stack)

    def _delete(self, stack: str) -> None:
        self._cloudformation.delete_stack(StackName=stack)
        self._wait("stack_delete_complete", stack)

    def _wait(self, waiter: str, stack: str) -> None:
        try:
            self._cloudformation.get_waiter(waiter).wait(StackName=stack, WaiterConfig=_WAIT)
        except WaiterError as error:
            events = self._cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
            reasons = [
                f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
                for event in events
                if event["ResourceStatus"].endswith("_FAILED") and "ResourceStatusReason" in event
            ]
            raise Failed(f"{stack}: " + ("; ".join(reasons[-5:]) or str(error))) from error

    # What runs

    @_carry_out.register
    def _end_running(self, step: EndRunning) -> None:
        Running(self._session, self._found, step.stage).end()

    # The app

    @_carry_out.register
    def _deploy_app(self, step: DeployApp) -> None:
        outputs = account.outputs(self._session, f"atoll-{step.stage}")
        if outputs is None:
            raise Failed(f"the stack atoll-{step.stage} is not there")
        record = self._record(outputs["BodiesBucket"])
        environment = self._environment(outputs, record)
        if step.if_urls_changed and environment == self._written_environment():
            self._say("they have not")
            return
        config = project.of_stage(step.stage, environment, traced=outputs["Tracing"] == "on", limits=step.limits)
        project.write(self._project, config, self._policies(traced=outputs["Tracing"] == "on"))
        self._chalice("deploy", outputs["BodiesBucket"], record)

    @_carry_out.register
    def _delete_app(self, step: DeleteApp) -> None:
        outputs = account.outputs(self._session, f"atoll-{step.stage}")
        record = self._record(outputs["BodiesBucket"]) if outputs else None
        if outputs is None or record is None:
            self._say("there is no record of any")
            return
        project.write(
            self._project,
            project.of_stage(step.stage, {}, traced=False, limits={}),
            self._policies(traced=False),
        )
        self._chalice("delete", outputs["BodiesBucket"], record)

    def _chalice(self, command: str, bucket: str, record: Mapping[str, Any] | None) -> None:
        file = self._project / ".chalice/deployed" / f"{self._stage}.json"
        file.parent.mkdir(parents=True)
        if record is not None:
            file.write_text(json.dumps(record))
        environment = {**os.environ, "AWS_DEFAULT_REGION": self._found.region, "AWS_REGION": self._found.region}
        credentials = self._session.get_credentials()
        if credentials is not None:  # those of the profile, resolved
            frozen = credentials.get_frozen_credentials()
            given = {
                "AWS_ACCESS_KEY_ID": frozen.access_key,
                "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
                "AWS_SESSION_TOKEN": frozen.token,
            }
            environment |= {name: value for name, value in given.items() if value}
        try:
            package.chalice(command, "--stage", self._stage, project_folder=self._project, environment=environment)
        except package.ChaliceFailed as error:
            raise Failed(str(error)) from error
        finally:
            # What was made before an error is known, too.
            if file.exists():
                self._session.client("s3").put_object(Bucket=bucket, Key=RECORD_KEY, Body=file.read_bytes())

    def _record(self, bucket: str) -> dict[str, Any] | None:
        try:
            answer = self._session.client("s3").get_object(Bucket=bucket, Key=RECORD_KEY)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            raise
        return dict(json.loads(answer["Body"].read()))

    def _environment(self, outputs: Mapping[str, str], record: Mapping[str, Any] | None) -> dict[str, str]:
        """Return what is known only of this account: the functions are told it as variables."""
        urls = self.urls(record)
        return {
            "ATOLL_ACCOUNT": self._found.account,
            "ATOLL_PARTITION": self._found.partition,
            "ATOLL_SUBNETS": outputs["Subnets"],
            "ATOLL_SECURITY_GROUPS": outputs["SecurityGroups"],
            "ATOLL_ASSIGN_PUBLIC_IP": outputs["AssignPublicIp"],
            "ATOLL_AGENT_EXECUTION_ROLE": outputs["AgentExecutionRole"],
            "ATOLL_AGENT_TASK_ROLE": outputs["AgentTaskRole"],
            **{f"ATOLL_{name.upper()}_URL": url for name, url in urls.items() if url},
        }

    def urls(self, record: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Return the URLs of both doors, ``api`` and ``mcp``, as far as they are there."""
        if record is None:
            outputs = account.outputs(self._session, f"atoll-{self._stage}")
            record = self._record(outputs["BodiesBucket"]) if outputs else None
        resources = (record or {}).get("resources", [])
        api = next((each["rest_api_url"] for each in resources if "rest_api_url" in each), "")
        events = account.outputs(self._session, f"atoll-{self._stage}-events") or {}
        return {"api": api.rstrip("/"), "mcp": events.get("McpUrl", "").rstrip("/")}

    def _written_environment(self) -> dict[str, str]:
        config = json.loads((self._project / ".chalice/config.json").read_text())
        everybodys = project.config()["stages"][self._stage]["environment_variables"]
        written = config["stages"][self._stage]["environment_variables"]
        return {name: value for name, value in written.items() if name not in everybodys}

    def _policies(self, *, traced: bool) -> dict[str, Any]:
        names = {
            "Stage": self._stage,
            "Account": self._found.account,
            "Region": self._found.region,
            "Partition": self._found.partition,
        }
        policies = {function: project.policy(function, names) for function in project.functions()}
        for document in policies.values():
            document["Statement"] += [project.TRACING] if traced else []
        return policies
