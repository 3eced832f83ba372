"""Clusters and task definitions: moto keeps them, and is asked for them by its API."""

import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any

from botocore.exceptions import ClientError

from infra.local.in_process import ServiceError


class MotoDefinitions:
    """What was defined in moto. A revision of a task definition and the name of a cluster never change."""

    def __init__(self, client: Callable[[], Any]) -> None:
        """
        Parameters
        ----------
        client
            Returns the boto3 client of ECS.
        """
        self._client = client
        self._lock = threading.Lock()
        self._clusters: dict[str, str] = {}
        self._definitions: dict[str, dict[str, Any]] = {}

    def cluster(self, name: str) -> str:
        """Return a cluster's ARN, by its name or ARN; raise `ServiceError` for an unknown one."""
        name = name.rpartition("/")[2]
        with self._lock:
            if name not in self._clusters:
                found = self._ask("describe_clusters", clusters=[name])["clusters"]
                if not found:
                    raise ServiceError("ClusterNotFoundException", "Cluster not found.")
                self._clusters[name] = found[0]["clusterArn"]
            return self._clusters[name]

    def task_definition(self, name: str) -> dict[str, Any]:
        """Return a task definition, by its ARN or as ``family:revision``; raise `ServiceError` for an unknown one."""
        with self._lock:
            if name not in self._definitions:
                try:
                    found = self._ask("describe_task_definition", taskDefinition=name)["taskDefinition"]
                except ClientError as error:
                    refusal = error.response["Error"]
                    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                    raise ServiceError(refusal["Code"], refusal.get("Message", ""), status) from error
                if not name.endswith(f":{found['revision']}"):  # the latest of a family, for now
                    return dict(found)
                self._definitions[name] = found
            return self._definitions[name]

    def _ask(self, operation: str, **request: Any) -> dict[str, Any]:
        """Call moto in ECS's own name: callers of RunTask need no permission for these calls."""
        return Context().run(getattr(self._client(), operation), **request)
