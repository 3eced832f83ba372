"""Whom a request may be for: a name of this machine, so that no page elsewhere reaches it by a name of its own.

A page whose name leads to 127.0.0.1 once it is loaded (DNS rebinding) is of the same origin as what answers there: no
browser holds it back, and it knows the key ``dev``. Its name is in each of its requests, as ``Host``.
"""

import re
from ipaddress import ip_address

#: RFC 9110, section 7.2: an address of IPv6 is in brackets.
_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[^:/@\[\]]+))(?::\d*)?", re.IGNORECASE)


def is_served(host: str | None, bound: str) -> bool:
    """Return whether a request with this ``Host`` is answered by a stack that is bound to an address.

    Names of the loopback interface are; where that is not all that the stack is bound to, any address is too.
    """
    found = _HOST.fullmatch(host or "")
    if found is None:
        return False
    name = found["address"] or found["name"].lower().removesuffix(".")
    return is_loopback(name) or (not is_loopback(bound) and _is_address(name))


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine alone: ``localhost``, a name below it (RFC 6761, 6.3), or an address."""
    if _is_address(host):
        return ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
