"""One run: each way of deploying, the checks, the destruction, and what is left. Everything yields an outcome."""

import functools
import json
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress

import httpx2
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.domain import api_keys
from infra.deploy import Failed
from infra.keys import OfStage
from infra.smoke import leftovers
from infra.smoke.checks import CHECKS, Check
from infra.smoke.outcomes import CheckFailed, Outcome, Result, Skipped, expect
from infra.smoke.place import Place, Receiver, Target
from infra.smoke.receiver import receiving
from infra.smoke.ways import Way

#: The secrets that must outlive a stage, and why a run fails when they do not: agents and receivers have them.
SECRETS = ("agent-key", "option-key", "webhook-secrets", "custom-tool-secret", "llm-proxy")

#: An image with Python that needs no account.
IMAGE = "public.ecr.aws/docker/library/python:3.13-slim"

#: How long a deployment, a destruction and the rest may take, in s; CloudFront takes most of it.
STEP_S = 3_600.0

#: How often it is looked whether all that was left is gone.
LOOKS = 30

Receivers = Callable[[], AbstractContextManager[Receiver]]


class Run:
    """A run over one stage, which must not be there."""

    def __init__(
        self,
        place: Place,
        stage: str,
        *,
        only: Collection[str] = (),
        image: str = IMAGE,
        receiver: Receivers | None = None,
    ) -> None:
        self._place, self._stage, self._image = place, stage, image
        #: The stage, once it is deployed.
        self.target: Target | None = None
        if unknown := sorted(set(only) - {check.name for check in CHECKS}):
            raise Failed(f"there is no check {unknown[0]!r}: {', '.join(repr(check.name) for check in CHECKS)} are")
        self._checks = [check for check in CHECKS if not only or check.name in only]
        self._receiver: Receivers = receiver or (lambda: receiving(place.session, stage))

    def refuse_what_is_there(self) -> None:
        """Raise `Failed` when there is anything of the stage: a run deletes all of it."""
        if found := leftovers.find(self._place.session, self._stage):
            shown = ", ".join(map(str, found[:5]))
            raise Failed(
                f"the stage {self._stage} is there ({len(found)} resources: {shown}), and a run would delete it with "
                "its data: name one that is not"
            )

    def through(self, way: Way, *, keep: bool = False) -> Iterator[Outcome]:
        """Deploy by a way, check, destroy, and list and delete what is left."""
        yield from self.up(way)
        if not keep:
            yield from self.down(way)

    def up(self, way: Way) -> Iterator[Outcome]:
        """Deploy by a way, check the stage, and deploy it again."""
        self.target = None

        def deploy() -> str:
            changes = way.deploy()
            self.target = self._target(way)
            return f"{len(changes)} changes of stacks"

        yield self._step(way, "deploy", deploy)
        if self.target is not None:
            yield from self.checked(way, self._checks)
            yield self._step(way, "second deployment", lambda: _nothing_changed(way))
        else:
            for name in (*(check.name for check in self._checks), "second deployment"):
                yield _skipped(way, name, "the stage could not be deployed")

    def down(self, way: Way) -> Iterator[Outcome]:
        """Destroy the stage, see that its data and nothing else is left, and delete that."""
        target = self.target
        secrets: Mapping[str, str] = {}
        if target is not None:
            with suppress(ClientError, BotoCoreError):  # the comparison will say so
                self._enter_providers(target)
                secrets = self._secrets(target)
        destroyed = self._step(way, "destroy", lambda: _destroyed(way))
        yield destroyed
        yield self._step(way, "what a destroyed stage leaves", self._only_data_is_left)
        over_both = "secrets over destroy and deploy"
        if not way.takes_in:
            yield _skipped(
                way, over_both, "a deployment of this way imports nothing: an operator does (docs/deploy.md)"
            )
        elif destroyed.result == "passed" and target is not None:
            again = functools.partial(self._same_secrets, way, secrets, target)
            yield self._step(way, over_both, again)
        else:
            yield _skipped(way, over_both, "the stage could not be deployed, or not destroyed")
        yield self._step(way, "leftovers", self._cleared)

    def checked(self, way: Way, checks: Iterable[Check]) -> Iterator[Outcome]:
        """Make checks of the stage that is deployed."""
        if (target := self.target) is None:
            return
        for check in checks:
            run = functools.partial(check.run, target)
            yield self._step(way, check.name, run, limit_s=check.limit_s, needs=check.needs)

    def _step(
        self, way: Way, name: str, run: Callable[[], str], *, limit_s: float = STEP_S, needs: Collection[str] = ()
    ) -> Outcome:
        """Run one thing in a thread of its own, which is given up when its time is over."""
        done: list[tuple[Result, str]] = []
        lacks = self._place.lacks(way.name)
        if missing := next((each for each in (*needs, name) if each in lacks), None):
            return _skipped(way, name, lacks[missing])
        thread = threading.Thread(target=lambda: done.append(_result(run)), name=f"smoke: {name}", daemon=True)
        began = time.monotonic()
        thread.start()
        thread.join(limit_s)
        took_s = time.monotonic() - began
        late = f"not over after {limit_s:.0f} s" if thread.is_alive() else "it broke off, with the error above"
        result, text = done[0] if done else ("failed", late)
        return Outcome(way.name, name, result, text, took_s)

    def _target(self, way: Way) -> Target:
        session, outputs = self._place.session, way.outputs()
        services = OfStage(self._stage, session, None)
        key, _ = api_keys.make(services, "smoke", [], lifetime_s=86_400, role="admin", limits={})
        reach = self._place.reach
        api_url = outputs.get("ApiUrl") or outputs["EndpointURL"]
        return Target(
            stage=self._stage,
            client=functools.cache(session.client),
            api_url=reach(api_url.rstrip("/")),
            mcp_url=reach(outputs.get("McpUrl", api_url).rstrip("/")),
            sockets_url=outputs.get("SocketsUrl", ""),
            address=outputs.get("Address", "").rstrip("/"),
            key=key,
            receiver=self._receiver,
            image=self._image,
            pace=self._place.pace,
        )

    def _enter_providers(self, target: Target) -> None:
        """Give the one secret whose first value is in the template another one."""
        client, name = target.client("secretsmanager"), f"atoll-{self._stage}/llm-proxy"
        client.put_secret_value(SecretId=name, SecretString=json.dumps({"entered": "by hand"}))

    def _secrets(self, target: Target) -> Mapping[str, str]:
        return {name: target.secret(name) for name in SECRETS}

    def _only_data_is_left(self) -> str:
        found = leftovers.find(self._place.session, self._stage)
        more = leftovers.unexpected(found)
        expect(not more, f"{len(more)} should be gone: {', '.join(map(str, more[:5]))}")
        return f"{len(found)} as the documents say: {', '.join(map(str, found))}"

    def _same_secrets(self, way: Way, before: Mapping[str, str], target: Target) -> str:
        way.deploy()
        now = self._secrets(target)
        changed = sorted(name for name in SECRETS if now[name] != before.get(name))
        way.destroy()
        expect(not changed, f"{', '.join(changed)} are not what they were before")
        return f"{', '.join(SECRETS)} are what they were"

    def _cleared(self) -> str:
        found = leftovers.find(self._place.session, self._stage)
        pause_s = leftovers.QUEUE_NAME_S * min(1.0, self._place.pace.look_s)
        failed = leftovers.remove(found, pause_s)
        # What is being deleted is listed for a while.
        for _ in range(LOOKS):
            left = leftovers.find(self._place.session, self._stage)
            if failed or not left:
                break
            time.sleep(10 * self._place.pace.look_s)
        expect(not failed and not left, f"left: {'; '.join([*failed, *map(str, left)][:5])}")
        return f"nothing, after {len(found)} were deleted"


def _skipped(way: Way, name: str, why: str) -> Outcome:
    return Outcome(way.name, name, "skipped", why, 0.0)


def _destroyed(way: Way) -> str:
    way.destroy()
    return "taken down"


def _nothing_changed(way: Way) -> str:
    changes = [line for line in way.deploy() if not line.endswith(": nothing to change")]
    expect(not changes, f"a second deployment changes {len(changes)}: {'; '.join(changes[:5])}")
    return "nothing to change"


def _result(run: Callable[[], str]) -> tuple[Result, str]:
    try:
        return "passed", run()
    except Skipped as skipped:
        return "skipped", str(skipped)
    except (CheckFailed, Failed) as failed:
        return "failed", str(failed)
    except (ClientError, BotoCoreError, httpx2.HTTPError, OSError) as error:
        # A URL may have a key or a secret in it: such an error is named, not shown.
        shown = str(error) if isinstance(error, ClientError | BotoCoreError) else type(error).__name__
        return "failed", shown
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, json.JSONDecodeError) as error:
        return "failed", f"an answer has another form than it should: {type(error).__name__}: {error}"
