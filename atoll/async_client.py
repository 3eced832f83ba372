"""The client of Atoll's REST API for asyncio."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2

from atoll import calls, flows, models
from atoll.calls import Answer, Call, Page
from atoll.errors import AtollError
from atoll.flows import Flow, FollowedDelivery, Hear, Listen, Out, Pause
from atoll.listening import AsyncSocket
from atoll.sending import Place, answer_of, pause_before_again, request_options, unreachable

T = TypeVar("T")


class AsyncClient:
    """`Client` for asyncio: the same methods, of which listings are async iterators and all others are awaited."""

    def __init__(
        self, url: str | None = None, key: str | None = None, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        """Take the same as `Client`."""
        self.place = Place.of(url, key)
        #: Where sockets are: nowhere, when something else than the network carries requests.
        self._sockets = self.place if transport is None else None
        self._http = httpx2.AsyncClient(**self.place.options(transport))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _do(self, call: Call[T]) -> T:
        sent = 0
        while True:
            sent += 1
            outcome = await self._outcome(call)
            pause_s = pause_before_again(call, sent, outcome)
            if pause_s is None:
                break
            await asyncio.sleep(pause_s)
        if isinstance(outcome, Answer):
            return call.result(outcome)
        raise unreachable(self.place, outcome) from outcome

    async def _outcome(self, call: Call[Any]) -> Answer | httpx2.TransportError:
        try:
            return answer_of(await self._http.request(**request_options(call)))
        except httpx2.TransportError as error:
            return error

    async def _drive(self, flow: Flow[T]) -> AsyncIterator[T]:
        socket = AsyncSocket(self._sockets)
        try:
            async for value in self._driven(flow, socket):
                yield value
        finally:
            await socket.close()

    async def _driven(self, flow: Flow[T], socket: AsyncSocket) -> AsyncIterator[T]:
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
                    given = await socket.open(step)
                case Hear(within_s):
                    given = await socket.hear(within_s)
                case Out(value):
                    yield value
                case Pause(s):
                    await asyncio.sleep(s)
                case Call():
                    try:
                        given = await self._do(step)
                    except AtollError as error:
                        fault = error

    async def fetch(self, path: str) -> Answer:
        """Return what the server answers at a path, such as its OpenAPI document at ``/api_v1.json``."""
        return await self._do(calls.fetch(path))

    async def create_session(
        self, request: models.SessionRequest | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> models.SessionIdentifier:
        """Create a session, and execute it unless that is deferred.

        It is created once, however often it is sent: under a key of its own, unless there is one that lasts longer than
        this process.
        """
        return await self._do(calls.create_session(request, idempotency_key))

    async def session(self, namespace: str, session_id: str) -> models.SessionStateBase:
        """Return a session's base state."""
        return await self._do(calls.session(namespace, session_id))

    async def extended_session(self, namespace: str, session_id: str) -> models.SessionStateExtended:
        """Return a session with its agents and threads."""
        return await self._do(calls.extended_session(namespace, session_id))

    async def execute_session(
        self, namespace: str, session_id: str, settings: models.SessionRuntimeSettings | Mapping[str, Any] | None = None
    ) -> None:
        """Execute a deferred session."""
        await self._do(calls.execute_session(namespace, session_id, settings))

    async def close_session(self, namespace: str, session_id: str) -> None:
        """Close a session."""
        await self._do(calls.close_session(namespace, session_id))

    async def budget(self, namespace: str, session_id: str) -> models.Budgets:
        """Return the budgets of a session and its agents, in millionths of a US dollar."""
        return await self._do(calls.budget(namespace, session_id))

    async def change_budget(
        self, namespace: str, session_id: str, limits: models.NewLimits | Mapping[str, Any]
    ) -> models.Budgets:
        """Set other limits, in US dollars, and return the budgets as they are then."""
        return await self._do(calls.change_budget(namespace, session_id, limits))

    async def summary(self, namespace: str, session_id: str) -> models.SessionSummary:
        """Return a session in numbers."""
        return await self._do(calls.summary(namespace, session_id))

    def agents(self, namespace: str, session_id: str) -> AsyncIterator[models.ListedAgentState]:
        """List the agents of a session, each stopped one with the reason."""
        return self._drive(flows.listing(lambda cursor: calls.agents(namespace, session_id, cursor)))

    def threads(self, namespace: str, session_id: str) -> AsyncIterator[models.SessionThreadOverview]:
        """List the threads of a session, without their messages."""
        return self._drive(flows.listing(lambda cursor: calls.threads(namespace, session_id, cursor)))

    def messages(self, namespace: str, session_id: str, thread_id: str) -> AsyncIterator[models.SessionThreadMessage]:
        """List the messages of a thread, the first one first."""
        return self._drive(flows.listing(lambda cursor: calls.messages(namespace, session_id, thread_id, cursor)))

    async def events(
        self, namespace: str, session_id: str, *, after: str = "0", limit: int | None = None
    ) -> Page[models.Event]:
        """Return what has happened in a session behind a cursor, as far as it goes into a page."""
        return await self._do(calls.events(namespace, session_id, after, limit))

    def follow(self, namespace: str, session_id: str, *, after: str = "0") -> AsyncIterator[Page[models.Event]]:
        """Give the events of a session page by page until it is over; of one that has ended, from the history.

        Whoever goes on from the cursor of the last page that was dealt with misses nothing and gets nothing twice.
        """
        return self._drive(flows.events(namespace, session_id, after))

    async def logs(
        self, namespace: str, session_id: str, *, agent: str | None = None, after: str = "0", limit: int | None = None
    ) -> Page[models.LoggingEvent]:
        """Return what the agents of a session have printed behind a cursor, as far as it goes into a page."""
        return await self._do(calls.logs(namespace, session_id, agent, after, limit))

    def follow_logs(
        self, namespace: str, session_id: str, *, agent: str | None = None, after: str = "0"
    ) -> AsyncIterator[Page[models.LoggingEvent]]:
        """Give what agents print page by page until their session is over; of one that has ended, the last lines."""
        return self._drive(flows.logs(namespace, session_id, agent, after))

    async def create_namespace(self, request: models.SessionNamespaceRequest | Mapping[str, Any]) -> None:
        """Create a namespace."""
        await self._do(calls.create_namespace(request))

    def namespaces(
        self, *, annotations: Mapping[str, str] | None = None
    ) -> AsyncIterator[models.SessionNamespaceStateBase]:
        """List the namespaces that the key reaches."""
        return self._drive(flows.listing(lambda cursor: calls.namespaces(annotations, cursor)))

    def sessions(
        self, namespace: str, *, annotations: Mapping[str, str] | None = None
    ) -> AsyncIterator[models.SessionStateBase]:
        """List the sessions of a namespace."""
        return self._drive(flows.listing(lambda cursor: calls.sessions(namespace, annotations, cursor)))

    async def delete_namespace(self, namespace: str) -> None:
        """Close and remove all sessions of a namespace, its history, and the namespace."""
        await self._do(calls.delete_namespace(namespace))

    def history(
        self,
        namespace: str,
        *,
        reason: str | None = None,
        from_time: str | None = None,
        until_time: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> AsyncIterator[models.HistoryEntry]:
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

    async def historic_session(self, namespace: str, session_id: str) -> models.HistoricSession:
        """Return a session that has ended."""
        return await self._do(calls.historic_session(namespace, session_id))

    async def historic_events(
        self, namespace: str, session_id: str, *, after: str = "0", limit: int | None = None
    ) -> Page[models.Event]:
        """Return what has happened in a session that has ended, behind a cursor."""
        return await self._do(calls.historic_events(namespace, session_id, after, limit))

    async def historic_logs(
        self, namespace: str, session_id: str, *, agent: str | None = None, after: str = "0", limit: int | None = None
    ) -> Page[models.LoggingEvent]:
        """Return the last lines of a session that has ended, behind a cursor."""
        return await self._do(calls.historic_logs(namespace, session_id, agent, after, limit))

    async def delete_history(self, namespace: str, session_id: str) -> None:
        """Delete a session from the history."""
        await self._do(calls.delete_history(namespace, session_id))

    def deliveries(self, namespace: str) -> AsyncIterator[models.Delivery]:
        """List the webhook deliveries of a namespace, the last one first."""
        return self._drive(flows.listing(lambda cursor: calls.deliveries(namespace, cursor)))

    async def delivery(self, namespace: str, delivery_id: str) -> models.Delivery:
        """Return a webhook delivery."""
        return await self._do(calls.delivery(namespace, delivery_id))

    async def resend(self, namespace: str, delivery_id: str) -> models.Delivery:
        """Send a delivery again."""
        return await self._do(calls.resend(namespace, delivery_id))

    async def sign_delivery(self, namespace: str, delivery_id: str) -> models.SignedDelivery:
        """Return a delivery as it would be sent now, signed as of now. It is not sent."""
        return await self._do(calls.sign_delivery(namespace, delivery_id))

    def follow_deliveries(
        self, namespace: str, *, since_ms: int | None = None, on_error: Callable[[AtollError], None] | None = None
    ) -> AsyncIterator[FollowedDelivery]:
        """Give each delivery of a namespace that is made from now on, once and signed, without end.

        Those since a time (epoch ms) come before, where one is given. What a server refuses for a moment is tried
        again, as often as that takes: ``on_error`` is told each time. Raises `Refused` for what will not pass.
        """
        return self._drive(flows.deliveries(namespace, since_ms, on_error))

    def webhook_endpoints(self, namespace: str) -> AsyncIterator[models.WebhookEndpoint]:
        """List the endpoints that do not take the webhooks of a namespace."""
        return self._drive(flows.listing(lambda cursor: calls.webhook_endpoints(namespace, cursor)))

    async def enable_webhook_endpoint(self, namespace: str, endpoint_id: str) -> None:
        """Send webhooks to an endpoint again."""
        await self._do(calls.enable_webhook_endpoint(namespace, endpoint_id))

    async def webhook_keys(self) -> models.WebhookKeys:
        """Return the public keys of signatures, the current one first."""
        return await self._do(calls.webhook_keys())

    def registry(self) -> AsyncIterator[models.RegistryAgentCatalog]:
        """List the registered agents with their versions."""
        return self._drive(flows.registry())

    async def registry_agent(self, name: str, version: str) -> models.RestrictedRegistryAgent:
        """Return a registered agent."""
        return await self._do(calls.registry_agent(name, version))

    async def put_agent(self, name: str, version: str, toml_text: str) -> models.RestrictedRegistryAgent:
        """Register an agent, or replace it, with the text of its ``coral-agent.toml``."""
        return await self._do(calls.put_agent(name, version, toml_text))

    async def delete_agent(self, name: str, version: str) -> None:
        """Remove an agent that no running session uses from the registry."""
        await self._do(calls.delete_agent(name, version))

    async def create_thread(
        self, namespace: str, session_id: str, agent: str, name: str, participants: Sequence[str] = ()
    ) -> models.SessionThread:
        """Open a thread in an agent's name."""
        return await self._do(calls.create_thread(namespace, session_id, agent, name, list(participants)))

    async def send_message(
        self, namespace: str, session_id: str, agent: str, *, thread_id: str, text: str, mentions: Sequence[str] = ()
    ) -> models.SessionThreadMessage:
        """Send a message in an agent's name."""
        return await self._do(
            calls.send_message(namespace, session_id, agent, thread_id=thread_id, text=text, mentions=list(mentions))
        )

    async def close_thread(self, namespace: str, session_id: str, agent: str, thread_id: str, summary: str) -> None:
        """Close a thread in an agent's name; what is left of it is the summary."""
        await self._do(calls.close_thread(namespace, session_id, agent, thread_id, summary))

    async def add_participant(self, namespace: str, session_id: str, agent: str, thread_id: str, added: str) -> None:
        """Bring an agent into a thread, in another's name."""
        await self._do(calls.add_participant(namespace, session_id, agent, thread_id, added))

    async def remove_participant(
        self, namespace: str, session_id: str, agent: str, thread_id: str, removed: str
    ) -> None:
        """Take an agent out of a thread, in another's name."""
        await self._do(calls.remove_participant(namespace, session_id, agent, thread_id, removed))

    async def end_agent(self, namespace: str, session_id: str, agent: str) -> None:
        """End an agent."""
        await self._do(calls.end_agent(namespace, session_id, agent))
