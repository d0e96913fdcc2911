"""Which addresses a URL from outside may lead to.

A provider's answer names URLs. One that leads into our own network, by its host or by what a name
server says of it, would make this node read there for a stranger; and a name may mean one address when
it is checked and another when it is dialled. So a name is resolved once, every address it has must be
public, and the connection goes to that address (RFC 6890 tells the special ones).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from maquette.runtime.errors import Internal

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to addresses. Raises OSError."""
_PORTS = {"http": 80, "https": 443}
# Addresses of IPv4 in another dress: 6to4, NAT64 and Teredo.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Pinned:
    """A URL with the one address it leads to."""

    url: str
    """The same URL with the address in place of the name."""
    host: str
    """Of the Host header."""
    name: str
    """That the server's certificate must be for."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system for a name's addresses. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def is_public(address: str) -> bool:
    """Tell whether anybody on the Internet could reach an address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


async def leads_inside(url: str, ask: Resolve = resolve) -> bool:
    """Tell whether a URL of the operator's leads to an address that is not public. Raises OSError."""
    parts, port = _parts(url)
    return not all(map(is_public, await _addresses(parts, port, ask)))


async def pin(url: str, *, inside: bool, ask: Resolve = resolve) -> Pinned:
    """Return where a URL from outside leads.

    Raises Internal (PROCESSING_FAILED) for a scheme other than https, for a URL with a password, and for
    a name that has an address which is not public; ``inside`` lets such addresses and plain http pass.
    Raises OSError for a name without an address, which may be so for the moment only.
    """
    parts, port = _parts(url)
    if parts.scheme != "https" and not inside:
        raise _refused("it is not https")
    addresses = await _addresses(parts, port, ask)
    if not inside and not all(map(is_public, addresses)):
        raise _refused("it leads to an address that is not public")
    place = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
    pinned = parts._replace(netloc=f"{place}:{port}", fragment="")
    return Pinned(pinned.geturl(), parts.netloc, parts.hostname or "")


def _parts(url: str) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        raise _refused("it is no URL") from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        raise _refused("it is no plain http URL")
    return parts, port


async def _addresses(parts: SplitResult, port: int, ask: Resolve) -> Sequence[str]:
    try:
        found = await ask(parts.hostname or "", port)
    except UnicodeError:
        raise _refused("its host is no name") from None
    if not found:
        raise OSError(f"{parts.hostname} has no address")
    return found


def _refused(why: str) -> Internal:
    # The URL itself is not told: it may be signed, and then it is as good as a key.
    return Internal(f"a URL of the provider is not followed: {why}", reason="PROCESSING_FAILED")
