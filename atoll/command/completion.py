"""What a shell offers behind TAB: names that the server knows, as far as it says them within a second; else nothing."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from atoll.client import Client

#: How long a shell waits for names, in s, and how many it is given.
SECONDS = 1.0
MOST_NAMES = 100

#: How many namespaces are looked through for sessions.
MOST_NAMESPACES = 20


def servers(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the servers that are kept here."""
    from atoll.command.servers import Servers

    with contextlib.suppress(Exception):
        return [name for name in sorted(Servers.read().servers) if name.startswith(incomplete)]
    return []


def namespaces(context: typer.Context, incomplete: str) -> list[str]:
    """Offer namespaces."""
    return _offered(context, incomplete, lambda client: (each.name for each in client.namespaces()))


def sessions(context: typer.Context, incomplete: str) -> list[str]:
    """Offer sessions that are there, as NAMESPACE/ID, or by their ids alone when these begin so."""
    return _offered(context, incomplete, lambda client: _sessions(client, incomplete))


def _sessions(client: "Client", incomplete: str) -> Iterator[str]:
    namespace, slash, _ = incomplete.rpartition("/")
    names = [namespace] if slash else [each.name for each in itertools.islice(client.namespaces(), MOST_NAMESPACES)]
    for name in names:
        for session in client.sessions(name):
            yield f"{name}/{session.id}"
            if incomplete and not slash:
                yield session.id


def agents_of_session(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the agents of the session that was named before."""

    def found(client: "Client") -> Iterator[str]:
        from atoll.command.sessions import find

        return (agent.name for agent in client.agents(*find(client, str(context.params["session"]))))

    return _offered(context, incomplete, found)


def agents(context: typer.Context, incomplete: str) -> list[str]:
    """Offer agents of the registry, as NAME@VERSION."""
    return _offered(
        context,
        incomplete,
        lambda client: (f"{each.name}@{version}" for each in client.registry() for version in each.versions),
    )


def _offered(context: typer.Context, incomplete: str, find: "Callable[[Client], Iterator[str]]") -> list[str]:
    """Return the names that begin so and come within the time, sorted; errors are for a command, not for a shell."""
    found: list[str] = []

    def look() -> None:
        from atoll.command.servers import connect

        # The outermost edge: whatever is wrong here must not come between a person and what is being typed.
        with contextlib.suppress(Exception), connect(context.params.get("server")) as client:
            found.extend(itertools.islice((name for name in find(client) if name.startswith(incomplete)), MOST_NAMES))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(SECONDS)
    return sorted(found)
