"""S3, where webhook bodies are kept that are too large for an item of DynamoDB."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Bodies:
    """The bucket of webhook bodies. Its lifecycle rule removes them a day after their deliveries."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, key: str, body: bytes) -> None:
        """Store a body; the same key always holds the same bytes."""
        self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType="application/json")

    def get(self, key: str) -> bytes:
        """Return a body as it was stored."""
        return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
