"""S3: moto's, whose objects outlive the process where there is a place for them, and expire as their buckets say."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.s3.models import FakeKey, S3Backend, s3_backends

from chalicelib.domain.agent_environment import FOLDER
from infra.local.data import Data

KIND = "object"

#: Calls that write or delete objects.
WRITES = ("PutObject", "CopyObject", "CompleteMultipartUpload", "DeleteObject", "DeleteObjects")


class Objects:
    """The objects of all buckets."""

    def __init__(self, account: str, data: Data | None) -> None:
        self._account = account
        self._data = data
        # What is read of an object and what is written of it are one step: the last one decides.
        self._lock = threading.Lock()
        #: Of each bucket, how many days the objects with a prefix are kept.
        self._days: dict[str, dict[str, int]] = {}

    def follow(self, client: Any) -> None:
        """Keep what a client of S3 writes, before its call is answered."""
        if self._data is None:
            return

        def remember(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
            keys = [params["Key"]] if "Key" in params else [each["Key"] for each in params["Delete"]["Objects"]]
            context["atoll_objects"] = [(params["Bucket"], key) for key in keys]

        def save(http_response: Any, context: dict[str, Any], **_: Any) -> None:
            if http_response.status_code < 300:
                self._save(context["atoll_objects"])

        for call in WRITES:
            client.meta.events.register(f"before-parameter-build.s3.{call}", remember)
            client.meta.events.register(f"after-call.s3.{call}", save)

    def restore(self) -> None:
        """Put the objects of an earlier run into their buckets; those of a bucket that is not there are left alone."""
        for name, value in self._data.read(KIND) if self._data is not None else ():
            bucket, key = json.loads(name)
            if bucket not in self._backend.buckets:
                continue
            assert isinstance(value, bytes)
            about, _, body = value.partition(b"\n")
            found = json.loads(about)
            made = self._backend.put_object(bucket, key, body, disable_notification=True)
            made.set_metadata(found["metadata"])
            made.last_modified = datetime.fromisoformat(found["lastModified"])

    def expire_by(self, bucket: str, configuration: dict[str, Any]) -> None:
        """Let `delete_expired` delete the objects of a bucket as its ``LifecycleConfiguration`` says."""
        rules = [rule for rule in configuration.get("Rules", []) if rule["Status"] == "Enabled"]
        self._days[bucket] = {
            rule.get("Prefix", ""): int(rule["ExpirationInDays"]) for rule in rules if "ExpirationInDays" in rule
        }

    def delete_expired(self, now_s: float) -> None:
        """Delete what its bucket does not keep any longer."""
        for bucket, days in self._days.items():
            gone = [key for key in self._keys(bucket) if _is_over(key, days, now_s)]
            for key in gone:
                self._backend.delete_object(bucket, key.name)
            if self._data is not None:
                self._save([(bucket, key.name) for key in gone])

    @property
    def _backend(self) -> S3Backend:
        return s3_backends[self._account]["aws"]

    def _keys(self, bucket: str) -> Iterator[FakeKey]:
        return iter(list(self._backend.buckets[bucket].keys.values()))

    def _save(self, names: list[tuple[str, str]]) -> None:
        assert self._data is not None
        with self._lock:
            # Environment files have secrets in clear, and are made anew for a task that is started again.
            self._data.write(
                [(KIND, json.dumps(name), self._value(*name)) for name in names if not name[1].startswith(FOLDER)]
            )

    def _value(self, bucket: str, name: str) -> bytes | None:
        key = self._backend.buckets[bucket].keys.get(name)
        if key is None:
            return None
        about = {"metadata": dict(key.metadata), "lastModified": key.last_modified.isoformat()}
        value: bytes = key.value
        return json.dumps(about).encode() + b"\n" + value


def _is_over(key: FakeKey, days: dict[str, int], now_s: float) -> bool:
    now = datetime.fromtimestamp(now_s, UTC).replace(tzinfo=key.last_modified.tzinfo)
    return any(
        key.name.startswith(prefix) and key.last_modified + timedelta(days=kept) < now for prefix, kept in days.items()
    )
