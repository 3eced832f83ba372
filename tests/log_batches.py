"""Events as a subscription of CloudWatch Logs sends them."""

import base64
import gzip
import json
from typing import Any


def event_of(*lines: tuple[int, str], stream: str = "any", kind: str = "DATA_MESSAGE") -> dict[str, Any]:
    """Return the event of lines, each with its time (epoch ms), of one log stream."""
    events = [
        {"id": str(number), "timestamp": time_ms, "message": text} for number, (time_ms, text) in enumerate(lines)
    ]
    text = json.dumps({"messageType": kind, "logGroup": "any", "logStream": stream, "logEvents": events})
    return {"awslogs": {"data": base64.b64encode(gzip.compress(text.encode())).decode()}}
