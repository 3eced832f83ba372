"""The invariants that hold after every scenario, whatever failed in it: nothing is lost, and nothing is left."""

import json
from typing import Any, get_args

from botocore.exceptions import BotoCoreError, ClientError
from pydantic.alias_generators import to_camel

from chalicelib.aws.bus import NotPublished
from chalicelib.aws.task_overrides import EXECUTABLE
from chalicelib.aws.tasks import NoCapacity
from chalicelib.domain import actors, agent_secrets
from chalicelib.domain.errors import Unauthorized
from chalicelib.reactions import archive
from chalicelib.reactions.lifecycle import NamespaceGoing
from chalicelib.store import log
from chalicelib.store.history import HistoryRecord
from chalicelib.store.items import decode
from chalicelib.wire.events import SessionEvent
from infra.local.ecs.tasks import Task
from infra.local.functions.functions import FunctionError
from tests.faults.platform import Call, Died, World
from tests.faults.services import variables

HOUR_MS = 3_600_000

#: The keys that each type of event may have: Coral's clients refuse an event with another.
_KEYS = {
    each.model_fields["type"].default: set(map(to_camel, each.model_fields))
    for each in get_args(get_args(SessionEvent)[0])
}


def _foreign(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries with a type or a key that no `SessionEvent` has."""
    shown = [event for event in entries if event["type"] not in log.INTERNAL]
    return [event for event in shown if not event.keys() <= _KEYS.get(event["type"], set())]


class Witness:
    """Watches a world and reports broken invariants at the end. Made before the scenario begins."""

    def __init__(self, world: World) -> None:
        self.world = world
        #: Paths of sessions that were answered with 200.
        self.created: list[str] = []
        #: Whether every agent is to reach its own end, none being stopped.
        self.undisturbed = False
        #: Names of agents that run as functions, and have no tasks.
        self.functions: set[str] = set()
        #: Namespaces that stay.
        self.staying: set[str] = set()
        #: Reasons for which the sessions may have been closed.
        self.reasons: set[str] = set()
        #: Answers that are right though they refuse: (method, status).
        self.right_refusals: set[tuple[str, int]] = set()
        #: How long it may take until all is over and nothing is left to happen.
        self.longest_ms = 2 * HOUR_MS
        #: How long a task may live on when its session is closed.
        self.outlives_ms = HOUR_MS // 12
        #: The items of each session as they were before the first was removed.
        self.last_items: dict[str, list[dict[str, Any]]] = {}
        world.before_call.append(self._before_call)

    def _before_call(self, call: Call) -> None:
        # Of whichever function: the deletion of a namespace purges sessions too.
        writes = call.parameters.get("RequestItems", {}).get("atoll-local-session-items", [])
        if call.operation == "BatchWriteItem" and writes:
            [write, *_] = writes
            key = decode(write.get("DeleteRequest", {}).get("Key", {}))
            # What is forgotten of an agent that runs as a function, as it stops, is no removal.
            session_id = None if key.get("item", "").startswith("FOLLOWED-BY#") else key.get("sessionId")
            if session_id is not None and session_id not in self.last_items:
                items = self.world.items("session-items")
                self.last_items[session_id] = [item for item in items if item["sessionId"] == session_id]

    def broken(self) -> list[str]:
        """Let the world come to rest and return the broken invariants, in words."""
        begun_ms = self.world.now_ms
        self.world.run()
        lasted_ms = self.world.now_ms - begun_ms
        return [
            *([f"it took {lasted_ms // HOUR_MS} hours to end"] if lasted_ms > self.longest_ms else []),
            *self._answers(),
            *self._errors(),
            *self._sessions(),
            *self._reports(),
            *self._budgets(),
            *self._tasks(),
            *self._namespaces(),
            *self._secrets(),
            *self._machines(),
            *self._log(),
            *self._history(),
            *self._events(),
            *self._left_over(),
        ]

    def refused_and_ran(self) -> list[str]:
        """No session ran or reported whose creation was refused; one whose answer was lost may."""
        if any(method == "POST" and status >= 500 and status != 503 for method, _, status, _ in self.world.answers):
            return []
        known = {path.rpartition("/")[2] for path in self.created}
        ran = {task.started_by.split("/")[0] for task in self.world.ecs.tasks.values()} - known
        reported = {delivery["sessionId"] for delivery in self.world.items("deliveries")} - known
        return [f"the session {each} was refused, and ran or reported" for each in sorted(ran | reported)]

    def _answers(self) -> list[str]:
        found = []
        failed: set[tuple[str, str]] = set()
        fault = self.world.fault.kind if self.world.fault else ""
        for method, path, status, retry_after in self.world.answers:
            if status >= 500:
                failed.add((method, path))
                if status != 503 and not fault.startswith("died"):
                    found.append(f"{method} {path} was answered {status}")
                if status == 503 and retry_after is None:
                    found.append(f"{method} {path} was answered 503 without Retry-After")
                if fault == "asked twice":
                    found.append(f"{method} {path} was answered {status} though only the SDK had to ask twice")
            elif status >= 400 and (method, path) not in failed and (method, status) not in self.right_refusals:
                found.append(f"{method} {path} was answered {status}")
        return found

    def _errors(self) -> list[str]:
        expected = (Died, ClientError, BotoCoreError, NotPublished, NoCapacity, NamespaceGoing, FunctionError)
        return [f"{name} raised {error!r}" for name, error in self.world.errors if not isinstance(error, expected)]

    def _changes(self, table: str) -> list[tuple[dict[str, Any] | None, dict[str, Any] | None]]:
        records = [record["dynamodb"] for record in self.world.streams[f"atoll-local-{table}"].carried]
        return [
            tuple(decode(record[image]) if image in record else None for image in ("OldImage", "NewImage"))  # type: ignore[misc]
            for record in records
            if record["Keys"].get("sessionId") != {"S": "!"}  # the marker that hides a namespace is not a session
        ]

    def _executed(self) -> dict[str, dict[str, Any]]:
        """Return the sessions that were executed, as they were last."""
        last = {}
        for old, new in self._changes("sessions"):
            shown = new or old
            if shown and shown["status"] != "pending_execution":
                last[shown["sessionId"]] = shown
        # What was taken back at its creation, which was answered 404, never was.
        never = ("POST", 404) in self.right_refusals
        known = {path.rpartition("/")[2] for path in self.created}
        return {name: record for name, record in last.items() if not never or name in known}

    def _sessions(self) -> list[str]:
        found = []
        known = {shown["sessionId"] for pair in self._changes("sessions") for shown in pair if shown}
        for path in self.created:
            if path.rpartition("/")[2] not in known:
                found.append(f"{path} was answered 200 and is not there")
        for record in self.world.items("sessions"):
            found.append(f"the session {record['sessionId']} is left {record.get('status', 'to hide its namespace')}")
        for session_id, record in self._executed().items():
            if record["status"] != "closing" or record.get("closeReason") not in self.reasons:
                found.append(f"the session {session_id} ended as {record['status']}, {record.get('closeReason')}")
        return found

    def _reports(self) -> list[str]:
        found = []
        deliveries = self.world.items("deliveries")
        for session_id, record in self._executed().items():
            if "sessionEnd" not in record["runtimeSettings"].get("webhooks", {}):
                continue
            own = [delivery for delivery in deliveries if delivery["deliveryId"] == f"{session_id}-end"]
            if len(own) != 1:
                found.append(f"the session {session_id} has {len(own)} frozen reports")
                continue
            key = own[0].get("bodyKey")
            body = self.world.services.bodies.get(key).decode() if key else own[0]["body"]
            sent = [text.decode() for name, text in self.world.receiver.received if name == own[0]["deliveryId"]]
            if own[0]["state"] != "delivered" or not sent:
                found.append(f"the report of {session_id} is {own[0]['state']}, received {len(sent)} times")
            if any(text != body for text in sent):
                found.append(f"the report of {session_id} was sent with another body than the frozen one")
            found += self._stats(session_id, json.loads(body))
        return found

    def _budgets(self) -> list[str]:
        """What there was to tell of budgets was told, on the bus too; nothing is held, and limits are accounted for."""
        found = []
        records = [record["dynamodb"] for record in self.world.streams["atoll-local-session-items"].carried]
        written = {r["Keys"]["item"]["S"] for r in records if r["Keys"]["item"]["S"].startswith("BUDGET#")}
        sent = [each for each in self.world.items("deliveries") if "-budget-" in each["deliveryId"]]
        events = {json.dumps(detail) for kind, detail in self.world.published if kind.startswith("budget_")}
        if not len(written) == len(events) == len(sent):
            found.append(f"{len(written)} notices are {len(events)} events and {len(sent)} deliveries")
        found += [f"a delivery of a budget is {each['state']}" for each in sent if each["state"] != "delivered"]
        for row in self.world.items("history"):
            budget = row.get("budget", {})
            for level in [budget.get("session"), *budget.get("agents", {}).values()]:
                if level and (level["held"] or level["available"] + level["spent"] != level["limit"]):
                    found.append(f"a budget ended as {level}")
        return found

    def _stats(self, session_id: str, report: dict[str, Any]) -> list[str]:
        """The report has one row for each agent that ran. A task that is stopped at its launch may have one or not."""
        tasks = [task for task in self.world.ecs.tasks.values() if task.started_by.startswith(session_id)]
        closed_ms = self._executed()[session_id]["closingAtMs"]
        ran = {variables(task)["CORAL_AGENT_ID"] for task in tasks if (task.started_ms or 1 << 60) < closed_ms}
        asked = {variables(task)["CORAL_AGENT_ID"] for task in tasks}
        reported = [row["name"] for row in report["agentStats"] if row["name"] not in self.functions]
        if len(set(reported)) == len(reported) and ran <= set(reported) <= asked:
            return []
        return [f"the report of {session_id} names {reported}, and {sorted(ran)} ran"]

    def _tasks(self) -> list[str]:
        found = [f"the task {task.started_by} is left running" for task in self.world.ecs.running()]
        for session_id, record in self._executed().items():
            last_ms = record.get("closingAtMs", 1 << 60) + self.outlives_ms
            found += [
                f"the task {task.started_by} outlived its session"
                for task in self.world.ecs.tasks.values()
                if task.started_by.startswith(session_id) and (task.stopped_ms or 0) > last_ms
            ]
        if self.undisturbed:
            found += [
                f"the task {task.started_by} was stopped before its end"
                for task in self.world.ecs.tasks.values()
                if task.stop_code == "UserInitiated"
            ]
            for session_id in self._executed():
                agents = [item for item in self.last_items.get(session_id, []) if item["item"].startswith("AGENT#")]
                tasks = [each for each in self.world.ecs.tasks.values() if each.started_by.startswith(session_id)]
                tasks = [each for each in tasks if each.stop_code != "TaskFailedToStart"]
                if len(tasks) != len(agents):
                    found.append(f"the session {session_id} with {len(agents)} agents ran {len(tasks)} tasks")
        return found

    def _namespaces(self) -> list[str]:
        found = []
        for record in self.world.items("namespaces"):
            if record["name"] not in self.staying or record["state"] != "active":
                found.append(f"the namespace {record['name']} is left {record['state']}")
        return found

    def _secrets(self) -> list[str]:
        found = []
        key = self.world.services.secrets.get("agent-key")
        agents = [item for items in self.last_items.values() for item in items if item["item"].startswith("AGENT#")]
        for agent in agents:
            try:
                secret = agent_secrets.mint(key, agent["namespace"], agent["sessionId"], agent["name"])
                actors.by_secret(self.world.services, secret)
            except Unauthorized:
                continue
            found.append(f"the secret of {agent['name']} of {agent['sessionId']} still works")
        found += [f"{key} is left in the bucket" for key in self.world.objects("environments/")]
        for session_id, items in self.last_items.items():
            found += [f"{item['item']} of {session_id} kept its secret" for item in items if "secretHash" in item]
        return found

    def _machines(self) -> list[str]:
        return [
            f"the execution {execution.name} is {execution.status} in {execution.state}"
            for execution in self.world.machines.executions.values()
            if execution.status != "SUCCEEDED"
        ]

    def _log(self) -> list[str]:
        """Each task that ran has an entry in its session's log for its start, and one for its stop."""
        found = []
        for session_id, items in self.last_items.items():
            tasks = [task for task in self.world.ecs.tasks.values() if task.started_by.startswith(session_id)]
            entries = [json.loads(item["event"]) for item in items if item["item"].startswith("EVENT#")]
            once = ("runtime_started", "runtime_stopped", "agent_connected")
            logged = [(event["type"], event["name"]) for event in entries if event["type"] in once]
            names = [variables(task)["CORAL_AGENT_ID"] for task in tasks if task.started_ms is not None]
            wanted = [(kind, name) for kind in ("runtime_started", "runtime_stopped") for name in names]
            found += [f"the log of {session_id} lacks {each}" for each in wanted if each not in logged]
            if len(set(logged)) < len(logged):
                found.append(f"the log of {session_id} has an entry twice: {sorted(logged)}")
            found += self._containers(session_id, [task for task in tasks if task.started_ms is not None], entries)
            found += [f"the log of {session_id} has {event}, which no SessionEvent is" for event in _foreign(entries)]
            stamps = [item["stampMs"] for item in items if item["item"].startswith("EVENT#")]
            if sorted(set(stamps)) != stamps:
                found.append(f"the stamps of {session_id} do not rise: {stamps}")
        return found

    def _containers(self, session_id: str, ran: list[Task], entries: list[dict[str, Any]]) -> list[str]:
        """Each container, and no process, is told of twice: between its agent's start and stop, and after both.

        Its agent may have been stopped before it was known that the container runs.
        """
        told = [(each["type"], each.get("containerId", each.get("name"))) for each in entries]
        wanted: list[tuple[str, str]] = []
        for task in ran:
            if task.containers[0].image == EXECUTABLE:
                continue
            name, container = variables(task)["CORAL_AGENT_ID"], task.arn.rpartition("/")[2]
            created, removed = ("docker_container_created", container), ("docker_container_removed", container)
            wanted += [created, removed]
            started, stopped = ("runtime_started", name), ("runtime_stopped", name)
            orders = [[started, created, stopped, removed]]
            if task.stop_code == "UserInitiated":
                orders.append([started, stopped, created, removed])
            if [each for each in told if each in orders[0]] not in orders:
                return [f"the log of {session_id} should have {orders[0]}: {told}"]
        there = [each for each in told if each[0].startswith("docker_container")]
        return [] if sorted(there) == sorted(wanted) else [f"the log of {session_id} names {there}, not {wanted}"]

    def _history(self) -> list[str]:
        """Each session that was executed is in the history once, with its whole log; none of a deleted namespace is."""
        found = []
        items = self.world.items("history")
        rows = [HistoryRecord.from_item(item) for item in items if not item["place"].startswith("#")]
        # Rows are deleted first: what leads to one may be left by a fault, shows nothing, and expires.
        pointers = len(items) - len(rows)
        if pointers < len(rows) or (pointers > len(rows) and self.world.fault is None):
            found.append(f"{len(items)} items of the history make {len(rows)} rows")
        deleted = [old for old, new in self._changes("namespaces") if old is not None and old["forced"] and new is None]
        # One that was made anew has a history of its own.
        since_ms = max((old["deletingSinceMs"] for old in deleted), default=-1)
        for session_id, record in self._executed().items():
            own = [row for row in rows if row.session_id == session_id]
            if record.get("closeReason") == "namespace_deleted" or record.get("closingAtMs", 1 << 60) <= since_ms:
                found += [f"the history has {session_id} of a namespace that was deleted"] * len(own)
            elif self.world.services.settings.history_days == 0:
                found += [f"the history has {session_id}, and none is kept"] * len(own)
            elif record["status"] == "closing":
                found += self._archived(session_id, own)
        return found

    def _archived(self, session_id: str, rows: list[HistoryRecord]) -> list[str]:
        if len(rows) != 1:
            return [f"the history has {session_id} {len(rows)} times"]
        services = self.world.services
        items = [item for item in self.last_items.get(session_id, []) if item["item"].startswith("EVENT#")]
        logged = {int(item["item"].removeprefix("EVENT#")): json.loads(item["event"]) for item in items}
        archived = list(archive.events_of(services, rows[0]))
        shown = {at: event.type for at, event in archived if event is not None}
        positions = [at for at, _ in archived]
        # What ends waits may come after it.
        wanted = {at: event["type"] for at, event in logged.items() if event["type"] not in log.INTERNAL}
        kept = archive.state_of(services, rows[0])
        agents = {item["name"] for item in self.last_items.get(session_id, []) if item["item"].startswith("AGENT#")}
        messages = sum(event["type"] == "thread_message_sent" for event in logged.values())
        return [
            *([] if shown == wanted else [f"the archive of {session_id} has {shown}, its log {wanted}"]),
            *([] if positions == sorted(set(positions)) else [f"{session_id} is archived as {positions}"]),
            *(
                []
                if {each.name for each in kept.state.agents} == agents
                else [f"the state of {session_id} lacks agents"]
            ),
            *([] if rows[0].messages == messages else [f"{rows[0].messages} of {messages} messages are counted"]),
        ]

    def _events(self) -> list[str]:
        """Each step of each session was published."""
        found = []
        published = set()
        for kind, detail in self.world.published:
            for field in ("initialSessionState", "sessionState", "finalSessionState"):
                if field in detail:
                    published.add((kind, detail[field]["id"]))
        for old, new in self._changes("sessions"):
            shown = new or old
            assert shown is not None
            steps = {"session_created"} if old is None else {"session_closed"} if new is None else set()
            if new is not None and (old is None or old["status"] != new["status"]):
                steps.add(
                    {"executed": "session_running", "closing": "session_closing"}.get(new["status"], "session_created")
                )
            found += [
                f"{step} of {shown['sessionId']} was not published"
                for step in sorted(steps)
                if (step, shown["sessionId"]) not in published
            ]
        return found

    def _left_over(self) -> list[str]:
        """Nothing but deliveries is left 48 hours after the end; what a crash left goes when its session would have."""
        known = {shown["sessionId"] for pair in self._changes("sessions") for shown in pair if shown}
        items = self.world.items("session-items")
        found = [
            f"{item['item']} of the session {item['sessionId']} is left"
            for item in items
            if item["sessionId"] in known and "session_closing" not in item.get("event", "") and item["item"] != "HEAD"
        ]
        found += [f"{item['item']} of {item['sessionId']} has no end" for item in items if "expiresAt" not in item]
        self.world.now_ms += 49 * HOUR_MS
        self.world.expire()
        left = self.world.items("session-items")
        found += [f"{item['item']} of {item['sessionId']} is left" for item in left if item["sessionId"] in known]
        self.world.now_ms += 90 * 24 * HOUR_MS
        self.world.expire()
        found += [f"{item['item']} is left for months" for item in self.world.items("session-items")]
        found += [f"{item['place']} of the history is left for months" for item in self.world.items("history")]
        return found
