"""The client of Atoll's REST API."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2

from atoll import calls, flows, models
from atoll.calls import Answer, Call, Page
from atoll.errors import AtollError
from atoll.flows import Flow, FollowedDelivery, Hear, Listen, Out, Pause
from atoll.listening import Socket
from atoll.sending import Place, answer_of, pause_before_again, request_options, unreachable

T = TypeVar("T")


class Client:
    """Calls one server with one API key. A context manager, as it holds connections; threads may share it.

    Every method raises `Unreachable` when no answer comes, and a `Refused` for an error that the server answers: its
    subclasses are named in `atoll.errors`. A request that is known to be harmless twice is sent again three times at
    most, when the server is busy or the connection was lost.
    """

    def __init__(
        self, url: str | None = None, key: str | None = None, *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        """
        Parameters
        ----------
        url
            Where the server is, with the stage in its path where it has one; ``ATOLL_URL``, or the stack of this
            machine (`atoll up`).
        key
            The API key; ``ATOLL_API_KEY``, or the stack's own.
        transport
            What carries requests in the place of the network.
        """
        self.place = Place.of(url, key)
        #: Where sockets are: nowhere, when something else than the network carries requests.
        self._sockets = self.place if transport is None else None
        self._http = httpx2.Client(**self.place.options(transport))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _do(self, call: Call[T]) -> T:
        sent = 0
        while True:
            sent += 1
            outcome = self._outcome(call)
            pause_s = pause_before_again(call, sent, outcome)
            if pause_s is None:
                break
            time.sleep(pause_s)
        if isinstance(outcome, Answer):
            return call.result(outcome)
        raise unreachable(self.place, outcome) from outcome

    def _outcome(self, call: Call[Any]) -> Answer | httpx2.TransportError:
        try:
            return answer_of(self._http.request(**request_options(call)))
        except httpx2.TransportError as error:
            return error

    def _drive(self, flow: Flow[T]) -> Iterator[T]:
        with contextlib.closing(Socket(self._sockets)) as socket:
            yield from self._driven(flow, socket)

    def _driven(self, flow: Flow[T], socket: Socket) -> Iterator[T]:
        given: Any = None
        fault: AtollError | None = None
        while True:
            try:
                step = flow.send(given) if fault is None else flow.throw(fault)
            except StopIteration:
                return
            given, fault = None, None
            match step:
                case Listen():
                    given = socket.open(step)
                case Hear(within_s):
                    given = socket.hear(within_s)
                case Out(value):
                    yield value
                case Pause(s):
                    time.sleep(s)
                case Call():
                    try:
                        given = self._do(step)
                    except AtollError as error:
                        fault = error

    def fetch(self, path: str) -> Answer:
        """Return what the server answers at a path, such as its OpenAPI document at ``/api_v1.json``."""
        return self._do(calls.fetch(path))

    def create_session(
        self, request: models.SessionRequest | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> models.SessionIdentifier:
        """Create a session, and execute it unless that is deferred.

        It is created once, however often it is sent: under a key of its own, unless there is one that lasts longer than
        this process.
        """
        return self._do(calls.create_session(request, idempotency_key))

    def session(self, namespace: str, session_id: str) -> models.SessionStateBase:
        """Return a session's base state."""
        return self._do(calls.session(namespace, session_id))

    def extended_session(self, namespace: str, session_id: str) -> models.SessionStateExtended:
        """Return a session with its agents and threads."""
        return self._do(calls.extended_session(namespace, session_id))

    def execute_session(
        self, namespace: str, session_id: str, settings: models.SessionRuntimeSettings | Mapping[str, Any] | None = None
    ) -> None:
        """Execute a deferred session."""
        self._do(calls.execute_session(namespace, session_id, settings))

    def close_session(self, namespace: str, session_id: str) -> None:
        """Close a session."""
        self._do(calls.close_session(namespace, session_id))

    def budget(self, namespace: str, session_id: str) -> models.Budgets:
        """Return the budgets of a session and its agents, in millionths of a US dollar."""
        return self._do(calls.budget(namespace, session_id))

    def change_budget(
        self, namespace: str, session_id: str, limits: models.NewLimits | Mapping[str, Any]
    ) -> models.Budgets:
        """Set other limits, in US dollars, and return the budgets as they are then."""
        return self._do(calls.change_budget(namespace, session_id, limits))

    def summary(self, namespace: str, session_id: str) -> models.SessionSummary:
        """Return a session in numbers."""
        return self._do(calls.summary(namespace, session_id))

    def agents(self, namespace: str, session_id: str) -> Iterator[models.ListedAgentState]:
        """List the agents of a session, each stopped one with the reason."""
        return self._drive(flows.listing(lambda cursor: calls.agents(namespace, session_id, cursor)))

    def threads(self, namespace: str, session_id: str) -> Iterator[models.SessionThreadOverview]:
        """List the threads of a session, without their messages."""
        return self._drive(flows.listing(lambda cursor: calls.threads(namespace, session_id, cursor)))

    def messages(self, namespace: str, session_id: str, thread_id: str) -> Iterator[models.SessionThreadMessage]:
        """List the messages of a thread, the first one first."""
        return self._drive(flows.listing(lambda cursor: calls.messages(namespace, session_id, thread_id, cursor)))

    def events(
        self, namespace: str, session_id: str, *, after: str = "0", limit: int | None = None
    ) -> Page[models.Event]:
        """Return what has happened in a session behind a cursor, as far as it goes into a page."""
        return self._do(calls.events(namespace, session_id, after, limit))

    def follow(self, namespace: str, session_id: str, *, after: str = "0") -> Iterator[Page[models.Event]]:
        """Give the events of a session page by page until it is over; of one that has ended, from the history.

        Whoever goes on from the cursor of the last page that was dealt with misses nothing and gets nothing twice.
        """
        return self._drive(flows.events(namespace, session_id, after))

    def logs(
        self, namespace: str, session_id: str, *, agent: str | None = None, after: str = "0", limit: int | None = None
    ) -> Page[models.LoggingEvent]:
        """Return what the agents of a session have printed behind a cursor, as far as it goes into a page."""
        return self._do(calls.logs(namespace, session_id, agent, after, limit))

    def follow_logs(
        self, namespace: str, session_id: str, *, agent: str | None = None, after: str = "0"
    ) -> Iterator[Page[models.LoggingEvent]]:
        """Give what agents print page by page until their session is over; of one that has ended, the last lines."""
        return self._drive(flows.logs(namespace, session_id, agent, after))

    def create_namespace(self, request: models.SessionNamespaceRequest | Mapping[str, Any]) -> None:
        """Create a namespace."""
        self._do(calls.create_namespace(request))

    def namespaces(self, *, annotations: Mapping[str, str] | None = None) -> Iterator[models.SessionNamespaceStateBase]:
        """List the namespaces that the key reaches."""
        return self._drive(flows.listing(lambda cursor: calls.namespaces(annotations, cursor)))

    def sessions(
        self, namespace: str, *, annotations: Mapping[str, str] | None = None
    ) -> Iterator[models.SessionStateBase]:
        """List the sessions of a namespace."""
        return self._drive(flows.listing(lambda cursor: calls.sessions(namespace, annotations, cursor)))

    def delete_namespace(self, namespace: str) -> None:
        """Close and remove all sessions of a namespace, its history, and the namespace."""
        self._do(calls.delete_namespace(namespace))

    def history(
        self,
        namespace: str,
        *,
        reason: str | None = None,
        from_time: str | None = None,
        until_time: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Iterator[models.HistoryEntry]:
        """List the sessions of a namespace that have ended, the last one first; times (ISO 8601) are of closing."""
        return self._drive(
            flows.listing(
                lambda cursor: calls.history(
                    namespace,
                    cursor,
                    reason=reason,
                    from_time=from_time,
                    until_time=until_time,
                    annotations=annotations,
                )
            )
        )

    def historic_session(self, namespace: str, session_id: str) -> models.HistoricSession:
        """Return a session that has ended."""
        return self._do(calls.historic_session(namespace, session_id))

    def historic_events(
        self, namespace: str, session_id: str, *, after: str = "0", limit: int | None = None
    ) -> Page[models.Event]:
        """Return what has happened in a session that has ended, behind a cursor."""
        return self._do(calls.historic_events(namespace, session_id, after, limit))

    def historic_logs(
        self, namespace: str, session_id: str, *, agent: str | None = None, after: str = "0", limit: int | None = None
    ) -> Page[models.LoggingEvent]:
        """Return the last lines of a session that has ended, behind a cursor."""
        return self._do(calls.historic_logs(namespace, session_id, agent, after, limit))

    def delete_history(self, namespace: str, session_id: str) -> None:
        """Delete a session from the history."""
        self._do(calls.delete_history(namespace, session_id))

    def deliveries(self, namespace: str) -> Iterator[models.Delivery]:
        """List the webhook deliveries of a namespace, the last one first."""
        return self._drive(flows.listing(lambda cursor: calls.deliveries(namespace, cursor)))

    def delivery(self, namespace: str, delivery_id: str) -> models.Delivery:
        """Return a webhook delivery."""
        return self._do(calls.delivery(namespace, delivery_id))

    def resend(self, namespace: str, delivery_id: str) -> models.Delivery:
        """Send a delivery again."""
        return self._do(calls.resend(namespace, delivery_id))

    def sign_delivery(self, namespace: str, delivery_id: str) -> models.SignedDelivery:
        """Return a delivery as it would be sent now, signed as of now. It is not sent."""
        return self._do(calls.sign_delivery(namespace, delivery_id))

    def follow_deliveries(
        self, namespace: str, *, since_ms: int | None = None, on_error: Callable[[AtollError], None] | None = None
    ) -> Iterator[FollowedDelivery]:
        """Give each delivery of a namespace that is made from now on, once and signed, without end.

        Those since a time (epoch ms) come before, where one is given. What a server refuses for a moment is tried
        again, as often as that takes: ``on_error`` is told each time. Raises `Refused` for what will not pass.
        """
        return self._drive(flows.deliveries(namespace, since_ms, on_error))

    def webhook_endpoints(self, namespace: str) -> Iterator[models.WebhookEndpoint]:
        """List the endpoints that do not take the webhooks of a namespace."""
        return self._drive(flows.listing(lambda cursor: calls.webhook_endpoints(namespace, cursor)))

    def enable_webhook_endpoint(self, namespace: str, endpoint_id: str) -> None:
        """Send webhooks to an endpoint again."""
        self._do(calls.enable_webhook_endpoint(namespace, endpoint_id))

    def webhook_keys(self) -> models.WebhookKeys:
        """Return the public keys of signatures, the current one first."""
        return self._do(calls.webhook_keys())

    def registry(self) -> Iterator[models.RegistryAgentCatalog]:
        """List the registered agents with their versions."""
        return self._drive(flows.registry())

    def registry_agent(self, name: str, version: str) -> models.RestrictedRegistryAgent:
        """Return a registered agent."""
        return self._do(calls.registry_agent(name, version))

    def put_agent(self, name: str, version: str, toml_text: str) -> models.RestrictedRegistryAgent:
        """Register an agent, or replace it, with the text of its ``coral-agent.toml``."""
        return self._do(calls.put_agent(name, version, toml_text))

    def delete_agent(self, name: str, version: str) -> None:
        """Remove an agent that no running session uses from the registry."""
        self._do(calls.delete_agent(name, version))

    def create_thread(
        self, namespace: str, session_id: str, agent: str, name: str, participants: Sequence[str] = ()
    ) -> models.SessionThread:
        """Open a thread in an agent's name."""
        return self._do(calls.create_thread(namespace, session_id, agent, name, list(participants)))

    def send_message(
        self, namespace: str, session_id: str, agent: str, *, thread_id: str, text: str, mentions: Sequence[str] = ()
    ) -> models.SessionThreadMessage:
        """Send a message in an agent's name."""
        return self._do(
            calls.send_message(namespace, session_id, agent, thread_id=thread_id, text=text, mentions=list(mentions))
        )

    def close_thread(self, namespace: str, session_id: str, agent: str, thread_id: str, summary: str) -> None:
        """Close a thread in an agent's name; what is left of it is the summary."""
        self._do(calls.close_thread(namespace, session_id, agent, thread_id, summary))

    def add_participant(self, namespace: str, session_id: str, agent: str, thread_id: str, added: str) -> None:
        """Bring an agent into a thread, in another's name."""
        self._do(calls.add_participant(namespace, session_id, agent, thread_id, added))

    def remove_participant(self, namespace: str, session_id: str, agent: str, thread_id: str, removed: str) -> None:
        """Take an agent out of a thread, in another's name."""
        self._do(calls.remove_participant(namespace, session_id, agent, thread_id, removed))

    def end_agent(self, namespace: str, session_id: str, agent: str) -> None:
        """End an agent."""
        self._do(calls.end_agent(namespace, session_id, agent))
