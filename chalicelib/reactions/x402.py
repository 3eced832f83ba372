"""An agent's call of a resource that may ask to be paid by x402: made for it, by the rules of outgoing calls.

Nobody pays: Atoll has no wallet. The one call of a REST request besides DynamoDB, and to no AWS service.
"""

import json
from typing import TYPE_CHECKING

from chalicelib.domain import x402
from chalicelib.domain.actors import Actor
from chalicelib.domain.errors import BadGateway, BadRequest, NotConfigured
from chalicelib.wire.payments import WITHOUT_BODY, X402ProxiedResponse, X402ProxyRequest

if TYPE_CHECKING:
    from chalicelib.services import Services

#: How long the resource may take: API Gateway ends a request after 29 s.
LIMIT_MS = 20_000
#: The largest answer that is passed on.
MAX_ANSWER_BYTES = 1_000_000


def forward(services: "Services", actor: Actor, request: X402ProxyRequest) -> X402ProxiedResponse:
    """Make an agent's call and return what was answered, whatever its status but 402.

    Nothing of the agent goes with it: no credential, and no name. Raises `BadRequest` for an address that must not be
    called, and for a 402: no budget is for that resource, or nobody pays. Raises `BadGateway` without an answer, and
    for one that is too large, `NotConfigured` where the deployment makes no such calls.
    """
    if not services.settings.x402_calls:
        raise NotConfigured("this deployment makes no calls for agents (ATOLL_X402_CALLS)")
    # Not at the top: hardly any agent makes such calls.
    from chalicelib.aws.http import AddressRefused, CallFailed

    body, headers = None, {"Accept": "application/json, */*"}
    if request.method not in WITHOUT_BODY:
        body = json.dumps(request.body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        headers["Content-Type"] = "application/json"
    try:
        answer = services.http.call(
            request.method,
            request.endpoint,
            body,
            headers,
            timeout_s=LIMIT_MS / 1000,
            max_answer_bytes=MAX_ANSWER_BYTES,
        )
    except AddressRefused:
        raise BadRequest("endpoint: it is at an address that must not be called") from None
    except CallFailed:
        raise BadGateway(f"endpoint: it did not answer within {LIMIT_MS // 1000} s") from None
    if answer.truncated:
        raise BadGateway(f"endpoint: it answered more than {MAX_ANSWER_BYTES} bytes")
    if answer.status == 402:
        _refuse(actor, answer.body)
    return X402ProxiedResponse(code=answer.status, body=answer.body.decode("utf-8", "replace"))


def _refuse(actor: Actor, answer: bytes) -> None:
    budget = x402.paying(actor.agent, answer)
    if budget is None:
        raise BadRequest("This agent does not have funds budgeted for this request")
    raise BadRequest(f"x402Budgets has funds for {budget.resource!r}, and nobody pays: this deployment has no wallet")
