"""Pushes what agents print on AWS to those who follow the log."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chalicelib.aws.errors import is_aws_error
from chalicelib.aws.session_logs import line_of
from chalicelib.aws.task_overrides import CONTAINER
from chalicelib.domain import following, masks
from chalicelib.reactions import launches
from chalicelib.store.agents import AgentRecord

if TYPE_CHECKING:
    from chalicelib.services import Services

logger = logging.getLogger(__name__)

#: Whose lines a stream of an agent has that runs as a function: the session and the position (`printing_id`).
_FUNCTION = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-([0-9]+)")

#: How many lines of a batch are pushed, the latest: what comes faster can be listed.
MOST_LINES = 1_000

#: Of how many agents a process knows what hides their secrets.
MOST_AGENTS = 128


def push(services: "Services", log_stream: str, lines: Sequence[Mapping[str, Any]]) -> None:
    """Push lines of a log stream, as CloudWatch Logs has them, to the followers who want them.

    No agent waits for those who look on: what cannot be pushed is logged and left.
    """
    try:
        followers = services.followers.of_topic("logs")
        # Nothing else is read while nobody looks.
        if followers and (agent := _printed_by(services, log_stream)):
            _push(services, followers, agent, log_stream, lines[-MOST_LINES:])
    except Exception as error:
        if not is_aws_error(error):
            raise
        logger.warning("lines were not pushed", extra={"stream": log_stream, "error": type(error).__name__})


def _push(
    services: "Services",
    followers: Sequence[tuple[str, Mapping[str, Any]]],
    agent: AgentRecord,
    log_stream: str,
    lines: Sequence[Mapping[str, Any]],
) -> None:
    any_line = line_of(agent, lines[0], str)  # their tags are the same
    wanted = [
        connection_id
        for connection_id, wanted in followers
        if following.log_filter(wanted).passes(any_line) and following.reaches_line(wanted, any_line)
    ]
    mask = _mask_of(services, agent, log_stream) if wanted else None
    if mask is None:
        return
    frames = [line_of(agent, line, mask.applied).model_dump_json(by_alias=True, exclude_none=True) for line in lines]
    for connection_id in services.connections.push(dict.fromkeys(wanted, frames)):
        services.followers.remove("logs", connection_id)


def _printed_by(services: "Services", log_stream: str) -> AgentRecord | None:
    """Return the agent that prints into a stream; ``None`` for other containers and tasks, and when it is gone."""
    if log_stream not in services.printing:
        container, _, task_id = log_stream.rpartition("/")
        if not container.endswith(f"/{CONTAINER}"):
            return None
        if (function := _FUNCTION.fullmatch(task_id)) is not None:  # it has no task
            started_by = ["/".join(function.groups())]
        else:
            started_by = [each.started_by for each in services.tasks.described([task_id])]
        found = [launches.of_task(services, each) for each in started_by]
        if not found or found[0] is None:
            return None
        while len(services.printing) >= MOST_AGENTS:
            del services.printing[next(iter(services.printing))]
        services.printing[log_stream] = found[0], None
    return services.printing[log_stream][0]


def _mask_of(services: "Services", agent: AgentRecord, log_stream: str) -> masks.Mask | None:
    """Return what hides an agent's secrets; ``None`` when that cannot be known: then nothing of it is shown."""
    _, mask = services.printing[log_stream]
    if mask is None:
        mask = masks.of_agent(services, agent.session_id, agent.name)
        services.printing[log_stream] = agent, mask
    return mask
