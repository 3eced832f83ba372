"""Which route needs which role: the one table of it, by method and path.

A route that is not here is for `roles.ADMINS` alone, and a test fails: every route has its line.
"""

from collections.abc import Mapping

from chalicelib.domain import roles
from chalicelib.domain.roles import EVERY, OPERATORS, READERS, REGISTRARS, Roles

_NAMESPACES = "/api/v1/local/namespace"
_NAMESPACE = "/api/v1/local/namespace/{namespace}"
_SESSION = "/api/v1/local/session/{namespace}/{sessionId}"
_PUPPET = "/api/v1/puppet/{namespace}/{sessionId}/{agentName}"
_REGISTRY = "/api/v1/registry"

NEEDED: Mapping[str, Roles] = {
    "POST /api/v1/local/session": OPERATORS,
    f"GET {_SESSION}": READERS,
    f"POST {_SESSION}": OPERATORS,
    f"DELETE {_SESSION}": OPERATORS,
    f"GET {_SESSION}/extended": READERS,
    f"GET {_SESSION}/summary": READERS,
    f"GET {_SESSION}/budget": READERS,
    f"POST {_SESSION}/budget": OPERATORS,
    f"GET {_SESSION}/events": READERS,
    f"GET {_SESSION}/logs": READERS,
    f"GET {_SESSION}/agent": READERS,
    f"GET {_SESSION}/thread": READERS,
    f"GET {_SESSION}/thread/{{threadId}}": READERS,
    f"GET {_SESSION}/thread/{{threadId}}/message": READERS,
    f"GET {_NAMESPACES}": READERS,
    f"POST {_NAMESPACES}": OPERATORS,
    f"GET {_NAMESPACES}/extended": READERS,
    f"DELETE {_NAMESPACES}/extended": OPERATORS,
    f"GET {_NAMESPACE}": READERS,
    f"GET {_NAMESPACE}/extended": READERS,
    f"DELETE {_NAMESPACE}": OPERATORS,
    f"GET {_NAMESPACE}/history": READERS,
    f"GET {_NAMESPACE}/history/{{sessionId}}": READERS,
    f"GET {_NAMESPACE}/history/{{sessionId}}/events": READERS,
    f"GET {_NAMESPACE}/history/{{sessionId}}/logs": READERS,
    f"DELETE {_NAMESPACE}/history/{{sessionId}}": OPERATORS,
    f"GET {_NAMESPACE}/deliveries": READERS,
    f"GET {_NAMESPACE}/deliveries/{{deliveryId}}": READERS,
    f"POST {_NAMESPACE}/deliveries/{{deliveryId}}/resend": OPERATORS,
    # A signature lets its bearer send the delivery once more, as `resend` does.
    f"POST {_NAMESPACE}/deliveries/{{deliveryId}}/sign": OPERATORS,
    f"GET {_NAMESPACE}/webhook-endpoints": READERS,
    f"POST {_NAMESPACE}/webhook-endpoints/{{endpointId}}/enable": OPERATORS,
    f"DELETE {_PUPPET}": OPERATORS,
    f"POST {_PUPPET}/thread": OPERATORS,
    f"DELETE {_PUPPET}/thread": OPERATORS,
    f"POST {_PUPPET}/thread/message": OPERATORS,
    f"POST {_PUPPET}/thread/participant": OPERATORS,
    f"DELETE {_PUPPET}/thread/participant": OPERATORS,
    f"GET {_REGISTRY}": EVERY,
    f"GET {_REGISTRY}/local/{{agentName}}/{{agentVersion}}": EVERY,
    f"PUT {_REGISTRY}/local/{{agentName}}/{{agentVersion}}": REGISTRARS,
    f"DELETE {_REGISTRY}/local/{{agentName}}/{{agentVersion}}": REGISTRARS,
    f"GET {_REGISTRY}/marketplace/{{agentName}}/{{agentVersion}}": EVERY,
    f"GET {_REGISTRY}/linked/{{linkedServerName}}/{{agentName}}/{{agentVersion}}": EVERY,
}

#: Routes that no API key opens: nobody's, or an agent's, whose secret is the credential.
WITHOUT_KEY = frozenset(
    {
        "POST /api/v1/auth/token",
        "DELETE /api/v1/auth/token",
        "POST /api/v1/agent-rpc/rental-claim",
        "POST /api/v1/agent-rpc/x402",
        "POST /api/v1/agent-rental/reserve",
        "GET /api/v1/agent-rental/wallet",
        "GET /api/v1/agent-rental/catalog",
        "GET /api/v1/agent/options",
        "GET /api/v1/webhooks/keys",
        "POST /api/v1/webhooks/sink",
        "POST /mcp/v1/{agentSecret}/mcp",
        "GET /mcp/v1/{agentSecret}/mcp",
        "DELETE /mcp/v1/{agentSecret}/mcp",
        "GET /api_v1.json",
        "GET /",
        "GET /docs",
        "GET /docs/{file}",
        "GET /ui/console",
        "GET /ui/console/{file}",
        "GET /ui/docs",
    }
)


def needed(operation: str) -> Roles:
    """Return the roles that an operation (``GET /path``) needs one of."""
    return NEEDED.get(operation, roles.ADMINS)
