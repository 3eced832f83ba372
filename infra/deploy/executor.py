"""Carries out the steps of a plan, one after the other, or shows what each would change."""

from pathlib import Path

import boto3

from infra.deploy import Failed, access_log, app, description
from infra.deploy.plan import DeleteApp, DeleteStack, DeployApp, DeployStack, EndRunning, Found, Step
from infra.deploy.running import Running
from infra.deploy.stacks import Stacks


class Executor:
    """Carries out steps in one account and region."""

    def __init__(self, session: boto3.Session, found: Found, stage: str, folder: Path) -> None:
        self._session = session
        self._found = found
        self._stage = stage
        self._project = folder / stage
        self._stacks = Stacks(session, stage)

    def run(self, step: Step, *, dry_run: bool) -> list[str]:
        """Carry out one step and return its changes, a line each; a dry run only returns them.

        Raises `Failed`, and ``ClientError`` when AWS refuses.
        """
        match step:
            case DeployStack():
                return self._deploy_stack(step, dry_run=dry_run)
            case DeployApp():
                if not dry_run:
                    self._chalice("deploy", step)
                    app.set_logging(self._session, self._stage)
                    self._log_access()
                return step.changes()
            case EndRunning() if not dry_run:
                Running(self._session, self._found, self._stage).end()
            case DeleteApp() if step.there.named() and not dry_run:
                self._chalice("delete", DeployApp({}, step.there))
            case DeleteStack() if not self._stacks.find(step.stack):
                return ["there is none"]
            case DeleteStack() if not dry_run:
                self._stacks.delete(step.stack)
        return []

    def _deploy_stack(self, step: DeployStack, *, dry_run: bool) -> list[str]:
        template, values = description.stack(), dict(step.parameters)
        if step.template == "events":
            template = description.events()
            api = app.apis(self._session, self._stage)[:1]
            values |= self._stacks.outputs(f"atoll-{self._stage}") | dict(zip(["RestAPI"], api, strict=False))
        elif step.template == "roles":
            template = description.roles(self._stage)
            values |= self._stacks.outputs(f"atoll-{self._stage}")
        elif step.template == "address":
            template = description.address()
            values |= self._stacks.outputs(f"atoll-{self._stage}-events")
        left = {each.logical_id for each in self._found.kept}
        if step.kept:
            template = description.only(template, [each.logical_id for each in step.kept])
        # A dry run cannot see what earlier steps will have made or deleted by then.
        needed = {name for name, each in template["Parameters"].items() if "Default" not in each}
        blocked = self._stacks.failed(step.stack) or (left and not step.kept)
        if dry_run and (blocked or not needed <= values.keys()):
            new = {name: each["Type"] for name, each in template["Resources"].items() if step.kept or name not in left}
            return [f"{'>' if step.kept else '+'} {kind.removeprefix('AWS::')} {name}" for name, kind in new.items()]
        return self._stacks.change(step.stack, template, values, step.kept, dry_run=dry_run)

    def _chalice(self, command: str, step: DeployApp) -> None:
        outputs = self._stacks.outputs(f"atoll-{self._stage}")
        arns = self._stacks.outputs(f"atoll-{self._stage}-roles")
        roles = {name: arns.get(f"{description.logical_id(name)}Role", "") for name in description.functions()}
        if command == "deploy" and not all(roles.values()):
            raise Failed(f"the stack atoll-{self._stage}-roles has not the roles of all functions: {roles}")
        environment = {name: outputs[output] for name, output in description.ENVIRONMENT.items() if output in outputs}
        description.write_project(
            self._project,
            self._stage,
            environment=environment,
            limits=step.limits,
            traced=outputs.get("Tracing") == "on",
            architecture=outputs.get("Architecture", "x86_64"),
            roles={name: arn for name, arn in roles.items() if arn},
        )
        app.run_chalice(command, self._stage, self._project, self._session, step.there)

    def _log_access(self) -> None:
        group_arn = self._stacks.outputs(f"atoll-{self._stage}").get("AccessLogArn", "")
        for api in app.apis(self._session, self._stage)[:1]:
            access_log.switch(self._session, api, self._stage, group_arn)

    def urls(self) -> dict[str, str]:
        """Return the URLs of the stage, ``ApiUrl``, ``McpUrl``, ``ModelsUrl``, and of its address if there is one."""
        events = self._stacks.outputs(f"atoll-{self._stage}-events")
        return events | self._stacks.outputs(f"atoll-{self._stage}-address")
