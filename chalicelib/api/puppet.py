"""The puppet API: what an agent does in threads, done by a user in its place."""

from chalice.app import Blueprint

from chalicelib import services
from chalicelib.api.routing import Extras, route
from chalicelib.domain import actors, threads
from chalicelib.domain.errors import BadRequest
from chalicelib.reactions import launches
from chalicelib.stores import current
from chalicelib.wire.threads import (
    AddParticipantInput,
    CloseThreadInput,
    CreateThreadInput,
    CreateThreadOutput,
    RemoveParticipantInput,
    SendMessageInput,
    SendMessageOutput,
)

routes = Blueprint(__name__)

_AGENT = "/api/v1/puppet/{namespace}/{sessionId}/{agentName}"


_THREAD_LINKS = Extras(
    links={
        "namespace": "$request.path.namespace",
        "sessionId": "$request.path.sessionId",
        "threadId": "$response.body#/thread/id",
    }
)


@route(routes, "POST", f"{_AGENT}/thread", extras=_THREAD_LINKS)
def puppet_create_thread(
    namespace: str, session_id: str, agent_name: str, body: CreateThreadInput
) -> CreateThreadOutput:
    """Open a thread."""
    actor = actors.by_name(current(), namespace, session_id, agent_name)
    return CreateThreadOutput(thread=threads.create(current(), actor, body.thread_name, body.participant_names))


@route(routes, "DELETE", f"{_AGENT}/thread")
def puppet_close_thread(namespace: str, session_id: str, agent_name: str, body: CloseThreadInput) -> None:
    """Close a thread."""
    actor = actors.by_name(current(), namespace, session_id, agent_name)
    threads.close(current(), actor, body.thread_id, body.summary)


@route(routes, "POST", f"{_AGENT}/thread/message")
def puppet_send_message(namespace: str, session_id: str, agent_name: str, body: SendMessageInput) -> SendMessageOutput:
    """Send a message."""
    actor = actors.by_name(current(), namespace, session_id, agent_name, body.thread_id)
    message = threads.send(current(), actor, body.thread_id, body.content, body.mentions)
    return SendMessageOutput(status="Message sent", message=message)


@route(routes, "POST", f"{_AGENT}/thread/participant")
def puppet_add_participant(namespace: str, session_id: str, agent_name: str, body: AddParticipantInput) -> None:
    """Add an agent to a thread."""
    actor = actors.by_name(current(), namespace, session_id, agent_name)
    threads.add_participant(current(), actor, body.thread_id, body.participant_name)


@route(routes, "DELETE", f"{_AGENT}/thread/participant")
def puppet_remove_participant(namespace: str, session_id: str, agent_name: str, body: RemoveParticipantInput) -> None:
    """Remove an agent from a thread."""
    actor = actors.by_name(current(), namespace, session_id, agent_name)
    threads.remove_participant(current(), actor, body.thread_id, body.participant_name)


@route(routes, "DELETE", _AGENT, raises=(BadRequest,))
def puppet_kill_agent(namespace: str, session_id: str, agent_name: str) -> None:
    """End an agent, whether it runs or is still being started; one that has stopped stays so."""
    actor = actors.by_name(current(), namespace, session_id, agent_name)
    if actor.session.status == "pending_execution":
        raise BadRequest(f"the session {session_id!r} is pending execution: its agents have not been started")
    # The one call of a request beside DynamoDB (rule 1): StopTask, after its write.
    launches.take_back(services.current(), actor.agent, reason="ended by a user")
