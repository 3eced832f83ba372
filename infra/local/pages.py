"""Listings in pages, as Step Functions and ECS return them."""

from typing import Any


def page(field: str, found: list[Any], request: dict[str, Any], most: int) -> dict[str, Any]:
    """Return the page that a request asks for by its ``nextToken``, of ``maxResults`` or ``most`` entries.

    The token says where the page begins, so a listing that changes in between may miss or repeat entries, as on AWS.
    """
    start = int(request.get("nextToken") or 0)
    end = start + int(request.get("maxResults") or most)
    rest = {"nextToken": str(end)} if end < len(found) else {}
    return {field: found[start:end], **rest}
