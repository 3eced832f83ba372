"""All checks of a stage, in the order in which they run. Each stands alone."""

import dataclasses
from collections.abc import Callable

from infra.smoke import sessions, surroundings, waits
from infra.smoke.place import Target


@dataclasses.dataclass(frozen=True)
class Check:
    """Something that a stage has to do, how long it may take, in s, and what of AWS it cannot do without."""

    name: str
    run: Callable[[Target], str]
    limit_s: float
    needs: tuple[str, ...] = ()


API = "REST API"

CHECKS = (
    Check("names in paths", sessions.paths, 120, (API,)),
    Check("a slash in a path", sessions.slash, 120, (API, "encoded slashes")),
    Check("names in paths, through CloudFront", sessions.paths_through_address, 120, (API,)),
    Check("a first session of function agents", sessions.function_agents, 180, (API,)),
    Check("Fargate agents with file options", sessions.fargate_agents, 420, (API, "containers")),
    Check("capacity refused and granted", sessions.capacity, 1200, (API, "containers", "quotas")),
    Check("task token", sessions.task_token, 300, (API,)),
    Check("close during launch", sessions.close_during_launch, 420, (API,)),
    Check("a wait of 60 s", waits.long_wait, 240, (API,)),
    Check("a resumed wait", waits.resumed_wait, 300, (API,)),
    Check("429 beyond the limit of waits", waits.limit_of_waits, 240, (API, "limits of concurrency")),
    Check("webhook", sessions.webhook, 600, (API,)),
    Check("sockets", surroundings.sockets, 240, (API, "sockets")),
    Check("sockets, through CloudFront", surroundings.sockets_through_address, 240, (API, "sockets")),
    Check("permissions of the functions", surroundings.permissions, 300, (API,)),
    Check("dead letters", surroundings.dead_letters, 60),
    # The last: it waits for the metrics of what the others did, and SQS has some only of queues that somebody asks.
    Check("alarms have their metrics", surroundings.alarms, 1020, (API, "metrics")),
)
