"""Every request of the client as plain data: what is sent, and how the answer is read. Nothing here does I/O."""

import dataclasses
import functools
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter, ValidationError

from atoll import models
from atoll.errors import BY_STATUS, AtollError, Refused

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=BaseModel)

#: The headers that a page's next cursor, and what of a request has no effect, come in.
CURSOR_HEADER = "Next-Cursor"
WARNING_HEADER = "Atoll-Warning"

#: How much of an answer that is no error of Atoll's own is shown.
SHOWN_CHARS = 500


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclasses.dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a listing, and the cursor with which the next one is asked for; ``None`` behind the last."""

    entries: list[T]
    cursor: str | None


@dataclasses.dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[Answer], T]
    query: Mapping[str, str | list[str]] = dataclasses.field(default_factory=dict)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    content: bytes | None = None
    #: Whether it may be sent again when it is not known to have failed: twice is as once.
    again: bool = True

    def result(self, answer: Answer) -> T:
        """Read an answer; raises `Refused` for an error, `AtollError` for what is no answer of Atoll's."""
        if answer.status >= 400:
            raise BY_STATUS.get(answer.status, Refused)(answer.status, _message(answer), answer.headers)
        try:
            return self.read(answer)
        except ValidationError as error:
            shown = str(error).splitlines()[0]
            raise AtollError(f"{self.method} {self.path} answered what is not understood: {shown}") from error


def _message(answer: Answer) -> str:
    try:
        return str(json.loads(answer.content)["message"])
    except (ValueError, KeyError, TypeError):
        text = answer.content[:SHOWN_CHARS].decode(errors="replace").strip()
        return f"status {answer.status}{': ' if text else ''}{text}"


# Building a validator of a union of many models takes time: once for each, when it is first needed.
@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _one(kind: type[ModelT]) -> Callable[[Answer], ModelT]:
    return lambda answer: kind.model_validate_json(answer.content)


def _page(kind: Any) -> Callable[[Answer], Page[Any]]:
    def read(answer: Answer) -> Page[Any]:
        entries = _adapter(list[kind]).validate_json(answer.content)
        return Page(entries, answer.headers.get(CURSOR_HEADER.lower()))

    return read


def _nothing(answer: Answer) -> None:
    return None


def fetch(path: str) -> Call[Answer]:
    """Read any path."""
    return Call("GET", path, lambda answer: answer)


def _path(*parts: str) -> str:
    return "/api/v1/" + "/".join(quote(part, safe="") for part in parts)


def _session(namespace: str, session_id: str, *rest: str) -> str:
    return _path("local", "session", namespace, session_id, *rest)


def _namespace(namespace: str, *rest: str) -> str:
    return _path("local", "namespace", namespace, *rest)


def _query(**given: str | int | list[str] | None) -> dict[str, str | list[str]]:
    return {
        name.rstrip("_"): value if isinstance(value, list) else str(value)
        for name, value in given.items()
        if value is not None
    }


def _body(value: BaseModel | Mapping[str, Any]) -> bytes:
    if isinstance(value, BaseModel):
        return value.model_dump_json(by_alias=True, exclude_none=True).encode()
    return json.dumps(value).encode()


def _annotations(wanted: Mapping[str, str] | None) -> list[str] | None:
    return [f"{key}:{value}" for key, value in wanted.items()] if wanted else None


# Sessions


def create_session(
    request: models.SessionRequest | Mapping[str, Any], idempotency_key: str | None
) -> Call[models.SessionIdentifier]:
    """Create a session, once however often it is sent."""
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    read = _one(models.SessionIdentifier)
    return Call("POST", _path("local", "session"), read, headers=headers, content=_body(request))


def session(namespace: str, session_id: str) -> Call[models.SessionStateBase]:
    """Read a session's base state."""
    return Call("GET", _session(namespace, session_id), _one(models.SessionStateBase))


def extended_session(namespace: str, session_id: str) -> Call[models.SessionStateExtended]:
    """Read a session with its agents and threads."""
    return Call("GET", _session(namespace, session_id, "extended"), _one(models.SessionStateExtended))


def execute_session(
    namespace: str, session_id: str, settings: models.SessionRuntimeSettings | Mapping[str, Any] | None
) -> Call[None]:
    """Execute a deferred session. Sending it again would be refused, as it runs then."""
    content = _body(settings or {})
    return Call("POST", _session(namespace, session_id), _nothing, content=content, again=False)


def close_session(namespace: str, session_id: str) -> Call[None]:
    """Close a session."""
    return Call("DELETE", _session(namespace, session_id), _nothing)


def budget(namespace: str, session_id: str) -> Call[models.Budgets]:
    """Read the budgets of a session."""
    return Call("GET", _session(namespace, session_id, "budget"), _one(models.Budgets))


def change_budget(
    namespace: str, session_id: str, limits: models.NewLimits | Mapping[str, Any]
) -> Call[models.Budgets]:
    """Set other limits."""
    path = _session(namespace, session_id, "budget")
    return Call("POST", path, _one(models.Budgets), content=_body(limits))


def summary(namespace: str, session_id: str) -> Call[models.SessionSummary]:
    """Read a session in numbers."""
    return Call("GET", _session(namespace, session_id, "summary"), _one(models.SessionSummary))


def agents(namespace: str, session_id: str, cursor: str | None) -> Call[Page[models.ListedAgentState]]:
    """Read a page of the agents of a session."""
    path = _session(namespace, session_id, "agent")
    return Call("GET", path, _page(models.ListedAgentState), _query(limit=100, cursor=cursor))


def threads(namespace: str, session_id: str, cursor: str | None) -> Call[Page[models.SessionThreadOverview]]:
    """Read a page of the threads of a session."""
    path = _session(namespace, session_id, "thread")
    return Call("GET", path, _page(models.SessionThreadOverview), _query(limit=100, cursor=cursor))


def messages(
    namespace: str, session_id: str, thread_id: str, cursor: str | None
) -> Call[Page[models.SessionThreadMessage]]:
    """Read a page of the messages of a thread."""
    path = _session(namespace, session_id, "thread", thread_id, "message")
    return Call("GET", path, _page(models.SessionThreadMessage), _query(limit=100, cursor=cursor))


def events(namespace: str, session_id: str, after: str, limit: int | None) -> Call[Page[models.Event]]:
    """Read a page of the events of a session."""
    path = _session(namespace, session_id, "events")
    return Call("GET", path, _page(models.Event), _query(after=after, limit=limit))


def logs(
    namespace: str, session_id: str, agent: str | None, after: str, limit: int | None
) -> Call[Page[models.LoggingEvent]]:
    """Read a page of the lines of a session."""
    path = _session(namespace, session_id, "logs")
    return Call("GET", path, _page(models.LoggingEvent), _query(agent=agent, after=after, limit=limit))


#: The socket of what agents print.
SOCKET_OF_LOGS = "/ws/v1/logs"


def socket_of_events(namespace: str, session_id: str) -> str:
    """Return the path of the socket of what happens in a session."""
    return f"/ws/v1/events/session/{quote(namespace, safe='')}/{quote(session_id, safe='')}"


# Namespaces and history


def create_namespace(request: models.SessionNamespaceRequest | Mapping[str, Any]) -> Call[None]:
    """Create a namespace. Sending it again would be refused, as it is there then."""
    return Call("POST", _path("local", "namespace"), _nothing, content=_body(request), again=False)


def namespaces(
    annotations: Mapping[str, str] | None, cursor: str | None
) -> Call[Page[models.SessionNamespaceStateBase]]:
    """Read a page of the namespaces that the key reaches."""
    query = _query(limit=100, cursor=cursor, annotations=_annotations(annotations))
    return Call("GET", _path("local", "namespace"), _page(models.SessionNamespaceStateBase), query)


def sessions(
    namespace: str, annotations: Mapping[str, str] | None, cursor: str | None
) -> Call[Page[models.SessionStateBase]]:
    """Read a page of the sessions of a namespace."""
    query = _query(limit=100, cursor=cursor, annotations=_annotations(annotations))
    return Call("GET", _namespace(namespace), _page(models.SessionStateBase), query)


def delete_namespace(namespace: str) -> Call[None]:
    """Close and remove all of a namespace."""
    return Call("DELETE", _namespace(namespace), _nothing)


def history(
    namespace: str,
    cursor: str | None,
    *,
    reason: str | None,
    from_time: str | None,
    until_time: str | None,
    annotations: Mapping[str, str] | None,
) -> Call[Page[models.HistoryEntry]]:
    """Read a page of the sessions of a namespace that have ended, the last first."""
    query = _query(
        limit=100,
        cursor=cursor,
        reason=reason,
        from_=from_time,
        to=until_time,
        annotations=_annotations(annotations),
    )
    return Call("GET", _namespace(namespace, "history"), _page(models.HistoryEntry), query)


def historic_session(namespace: str, session_id: str) -> Call[models.HistoricSession]:
    """Read a session that has ended."""
    return Call("GET", _namespace(namespace, "history", session_id), _one(models.HistoricSession))


def historic_events(namespace: str, session_id: str, after: str, limit: int | None) -> Call[Page[models.Event]]:
    """Read a page of the events of a session that has ended."""
    path = _namespace(namespace, "history", session_id, "events")
    return Call("GET", path, _page(models.Event), _query(after=after, limit=limit))


def historic_logs(
    namespace: str, session_id: str, agent: str | None, after: str, limit: int | None
) -> Call[Page[models.LoggingEvent]]:
    """Read a page of the last lines of a session that has ended."""
    path = _namespace(namespace, "history", session_id, "logs")
    return Call("GET", path, _page(models.LoggingEvent), _query(agent=agent, after=after, limit=limit))


def delete_history(namespace: str, session_id: str) -> Call[None]:
    """Delete a session from the history."""
    return Call("DELETE", _namespace(namespace, "history", session_id), _nothing)


# Webhooks


def deliveries(namespace: str, cursor: str | None) -> Call[Page[models.Delivery]]:
    """Read a page of the deliveries of a namespace, the last first."""
    return Call("GET", _namespace(namespace, "deliveries"), _page(models.Delivery), _query(limit=100, cursor=cursor))


def delivery(namespace: str, delivery_id: str) -> Call[models.Delivery]:
    """Read a delivery."""
    return Call("GET", _namespace(namespace, "deliveries", delivery_id), _one(models.Delivery))


def resend(namespace: str, delivery_id: str) -> Call[models.Delivery]:
    """Send a delivery again."""
    path = _namespace(namespace, "deliveries", delivery_id, "resend")
    return Call("POST", path, _one(models.Delivery), again=False)


def sign_delivery(namespace: str, delivery_id: str) -> Call[models.SignedDelivery]:
    """Read a delivery as it would be sent now. Nothing is sent, so it may be asked again."""
    return Call("POST", _namespace(namespace, "deliveries", delivery_id, "sign"), _one(models.SignedDelivery))


def webhook_endpoints(namespace: str, cursor: str | None) -> Call[Page[models.WebhookEndpoint]]:
    """Read a page of the endpoints that do not take the webhooks of a namespace."""
    path = _namespace(namespace, "webhook-endpoints")
    return Call("GET", path, _page(models.WebhookEndpoint), _query(limit=100, cursor=cursor))


def enable_webhook_endpoint(namespace: str, endpoint_id: str) -> Call[None]:
    """Send webhooks to an endpoint again."""
    return Call("POST", _namespace(namespace, "webhook-endpoints", endpoint_id, "enable"), _nothing)


def webhook_keys() -> Call[models.WebhookKeys]:
    """Read the public keys of signatures."""
    return Call("GET", _path("webhooks", "keys"), _one(models.WebhookKeys))


# The registry


def registry(cursor: str | None) -> Call[Page[models.AgentRegistrySource]]:
    """Read a page of the registered agents, which are in the only source."""
    return Call("GET", _path("registry"), _page(models.AgentRegistrySource), _query(limit=100, cursor=cursor))


def registry_agent(name: str, version: str) -> Call[models.RestrictedRegistryAgent]:
    """Read a registered agent."""
    return Call("GET", _path("registry", "local", name, version), _one(models.RestrictedRegistryAgent))


def put_agent(name: str, version: str, toml_text: str) -> Call[models.RestrictedRegistryAgent]:
    """Register an agent."""
    path, read = _path("registry", "local", name, version), _one(models.RestrictedRegistryAgent)
    return Call("PUT", path, read, headers={"Content-Type": "application/toml"}, content=toml_text.encode())


def delete_agent(name: str, version: str) -> Call[None]:
    """Remove an agent from the registry."""
    return Call("DELETE", _path("registry", "local", name, version), _nothing)


# In an agent's name


def _puppet(namespace: str, session_id: str, agent: str, *rest: str) -> str:
    return _path("puppet", namespace, session_id, agent, *rest)


def create_thread(
    namespace: str, session_id: str, agent: str, name: str, participants: list[str]
) -> Call[models.SessionThread]:
    """Open a thread in an agent's name. Sending it again would open another."""
    content = _body({"threadName": name, "participantNames": participants})
    return Call("POST", _puppet(namespace, session_id, agent, "thread"), _thread, content=content, again=False)


def _thread(answer: Answer) -> models.SessionThread:
    return models.SessionThread.model_validate(json.loads(answer.content)["thread"])


def send_message(
    namespace: str, session_id: str, agent: str, *, thread_id: str, text: str, mentions: list[str]
) -> Call[models.SessionThreadMessage]:
    """Send a message in an agent's name. Sending it again would send it twice."""
    content = _body({"threadId": thread_id, "content": text, "mentions": mentions})
    path = _puppet(namespace, session_id, agent, "thread", "message")
    return Call("POST", path, _sent, content=content, again=False)


def _sent(answer: Answer) -> models.SessionThreadMessage:
    return models.SessionThreadMessage.model_validate(json.loads(answer.content)["message"])


def close_thread(namespace: str, session_id: str, agent: str, thread_id: str, text: str) -> Call[None]:
    """Close a thread in an agent's name."""
    content = _body({"threadId": thread_id, "summary": text})
    return Call("DELETE", _puppet(namespace, session_id, agent, "thread"), _nothing, content=content)


def add_participant(namespace: str, session_id: str, agent: str, thread_id: str, added: str) -> Call[None]:
    """Bring an agent into a thread, in another's name."""
    content = _body({"threadId": thread_id, "participantName": added})
    return Call("POST", _puppet(namespace, session_id, agent, "thread", "participant"), _nothing, content=content)


def remove_participant(namespace: str, session_id: str, agent: str, thread_id: str, removed: str) -> Call[None]:
    """Take an agent out of a thread, in another's name."""
    content = _body({"threadId": thread_id, "participantName": removed})
    return Call("DELETE", _puppet(namespace, session_id, agent, "thread", "participant"), _nothing, content=content)


def end_agent(namespace: str, session_id: str, agent: str) -> Call[None]:
    """End an agent."""
    return Call("DELETE", _puppet(namespace, session_id, agent), _nothing)
