"""Batches of lines as CloudWatch Logs pushes them (its User Guide, "Subscription filters with AWS Lambda")."""

import base64
import json
import zlib
from typing import Any

#: How large a batch may be when it is unpacked. CloudWatch Logs takes 1 MB at once, and what Lambda takes is packed.
MOST_BYTES = 16 * 2**20

#: That what is unpacked has the head and the end of gzip (zlib manual, "inflateInit2").
_GZIP = 16 + zlib.MAX_WBITS


def batch_of(event: dict[str, Any]) -> dict[str, Any] | None:
    """Return the batch of an event; ``None`` for one without lines, which asks whether the function is there.

    Raises ``ValueError`` for one of more than `MOST_BYTES`.
    """
    text = zlib.decompressobj(_GZIP).decompress(base64.b64decode(event["awslogs"]["data"]), MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise ValueError(f"a batch of lines has more than {MOST_BYTES} bytes")
    batch: dict[str, Any] = json.loads(text)
    return batch if batch["messageType"] == "DATA_MESSAGE" else None
