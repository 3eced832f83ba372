"""S3, where webhook bodies are kept that are too large for an item of DynamoDB, histories, and environment files."""

import logging
import mmap
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

logger = logging.getLogger(__name__)

#: Keys that one DeleteObjects takes (S3 API Reference, "DeleteObjects").
KEYS_OF_DELETION = 1_000
#: How much of a file is sent in one call: at least 5 MiB (S3 API Reference, "Amazon S3 multipart upload limits").
PART_BYTES = 8 * 1024 * 1024


class Bodies:
    """The bucket of the stage. Its lifecycle rules remove what has outlived its delivery or its row of the history."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        """Store a body; the same key always holds the same bytes."""
        self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type)

    def put_file(self, key: str, file: IO[bytes], content_type: str = "application/json") -> None:
        """Store a file from its beginning, in parts when it is large: one part is in memory at a time.

        The object is there whole or not at all. Parts that a crash leaves go by a lifecycle rule.
        """
        file.seek(0)
        first = file.read(PART_BYTES)
        if len(first) < PART_BYTES:
            self.put(key, first, content_type)
            return
        upload_id = self._client.create_multipart_upload(Bucket=self._bucket, Key=key, ContentType=content_type)[
            "UploadId"
        ]
        try:
            self._upload(key, upload_id, first, file)
        except Exception:
            self._abort(key, upload_id)
            raise

    def _upload(self, key: str, upload_id: str, part: bytes, file: IO[bytes]) -> None:
        parts: list[CompletedPartTypeDef] = []
        for number in count(1):
            sent = self._client.upload_part(
                Bucket=self._bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=part
            )
            parts.append({"ETag": sent["ETag"], "PartNumber": number})
            part = file.read(PART_BYTES)
            if not part:
                break
        self._client.complete_multipart_upload(
            Bucket=self._bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
        )

    def _abort(self, key: str, upload_id: str) -> None:
        try:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)
        except (ClientError, BotoCoreError):  # the error before this one is told, and the lifecycle rule does it too
            logger.warning("an upload is left to the bucket's lifecycle rule", exc_info=True)

    def get(self, key: str) -> bytes:
        """Return a body as it was stored."""
        return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()

    @contextmanager
    def mapped(self, key: str) -> Iterator[memoryview]:
        """Lend a body as it was stored, from a file that is deleted afterwards: it takes no memory of its own.

        It must not be empty.
        """
        with TemporaryFile() as file:
            shutil.copyfileobj(self._client.get_object(Bucket=self._bucket, Key=key)["Body"], file)
            file.flush()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as body:
                yield body

    def find(self, key: str) -> bytes | None:
        """Return a body as it was stored; ``None`` when it is not there any more."""
        try:
            return self.get(key)
        except ClientError as error:
            # Who may not list a bucket is told nothing of what is not in it (S3 API Reference, "GetObject").
            if error.response["Error"]["Code"] in ("NoSuchKey", "AccessDenied"):
                return None
            raise

    def delete(self, keys: Sequence[str]) -> None:
        """Delete bodies; what S3 does not delete now goes by the lifecycle rules."""
        for start in range(0, len(keys), KEYS_OF_DELETION):
            some = keys[start : start + KEYS_OF_DELETION]
            self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in some], "Quiet": True}
            )
