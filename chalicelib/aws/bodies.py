"""S3, where webhook bodies are kept that are too large for an item of DynamoDB, histories, and environment files."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Keys that one DeleteObjects takes (S3 API Reference, "DeleteObjects").
KEYS_OF_DELETION = 1_000


class Bodies:
    """The bucket of the stage. Its lifecycle rules remove what has outlived its delivery or its row of the history."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        """Store a body; the same key always holds the same bytes."""
        self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type)

    def get(self, key: str) -> bytes:
        """Return a body as it was stored."""
        return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()

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
