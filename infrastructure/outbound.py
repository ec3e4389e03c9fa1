"""Calls to URLs that somebody configured: never to an address inside, unless the operator allows it.

A name is looked up once, what it leads to is checked, and the connection goes to that very address: a name server that
answers differently the next time changes nothing. No redirect is followed, and no proxy asked.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LookUp = Callable[[str], Awaitable[Sequence[str]]]  # a host's addresses

_TIMEOUT = 10.0  # seconds for a whole call
LEADS_INSIDE = "It leads to an address inside."
# Everything that IANA does not call globally reachable, and one more.
_INSIDE = tuple(
    map(
        ipaddress.IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
            *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
            "168.63.129.16/32",  # Azure's own services, under an address that looks like anybody's
        ),
    )
)
_OUTSIDE6 = ipaddress.IPv6Network("2000::/3")  # all of IPv6 that is given out to anybody
_INSIDE6 = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
# IPv4 in other clothes: mapped, and translated (RFC 6052). Others, such as 6to4 and Teredo, are inside.
_IPV4_WITHIN = tuple(map(ipaddress.IPv6Network, ("::ffff:0:0/96", "64:ff9b::/96")))


class OutboundTrouble(Exception):
    """A call that did not work. The message may be shown: it never names the URL."""


class Refused(OutboundTrouble):
    """This URL must not be called."""


class Unanswered(OutboundTrouble):
    """The call came to no answer. Names the kind of trouble."""


def is_outside(address: Address) -> bool:
    """Whether it is an address on the public Internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _INSIDE)
    if any(address in network for network in _IPV4_WITHIN):
        return is_outside(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _OUTSIDE6 and not any(address in network for network in _INSIDE6)


def check_url(url: str, *, internal: bool = False) -> URL:
    """The URL as aiohttp reads it; `internal` allows addresses inside. Raises Refused for what needs no look-up."""
    try:
        parts = URL(url)
    except ValueError:
        raise Refused("It is not a URL.") from None
    host = parts.raw_host or ""
    literal = _literal(host)
    if parts.scheme not in ("http", "https") or not host:
        raise Refused("It must begin with https:// and name a host.")
    if parts.raw_user is not None or parts.raw_password is not None:
        raise Refused("It must not hold a user or password.")
    if parts.scheme == "http" and not (host == "localhost" or (literal is not None and literal.is_loopback)):
        raise Refused("It must begin with https://; http:// is for this machine itself.")
    if literal is not None and not internal and not is_outside(literal):
        raise Refused(LEADS_INSIDE)
    return parts


async def look_up(host: str) -> list[str]:
    """The host's addresses, as this machine finds them. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Outbound:
    """HTTP to the outside. Opened with the first call."""

    def __init__(self, *, internal: bool = False, timeout: float = _TIMEOUT, look_up: LookUp = look_up) -> None:
        self._internal = internal
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._resolver = CheckedResolver(look_up, internal)
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer, whose body is not read. Raises Refused, Unanswered."""
        checked = check_url(url, internal=self._internal)
        options = {"headers": {"User-Agent": "postledger", **headers}, "allow_redirects": False}
        try:
            async with self._opened().post(checked, data=body, **options) as response:  # type: ignore[arg-type]
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unanswered(type(error).__name__) from None

    async def close(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(resolver=self._resolver, use_dns_cache=False)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            )
        return self._session


class CheckedResolver(AbstractResolver):
    """What aiohttp asks where to connect to. It is not asked about addresses; those `check_url` has seen."""

    def __init__(self, look_up: LookUp, internal: bool) -> None:
        self._look_up = look_up
        self._internal = internal

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = [ipaddress.ip_address(address.partition("%")[0]) for address in await self._look_up(host)]
        allowed = [address for address in found if self._internal or is_outside(address)]
        if found and not allowed:
            raise Refused(LEADS_INSIDE)
        return [_result(host, address, port) for address in allowed]

    async def close(self) -> None:
        pass


def _result(host: str, address: Address, port: int) -> ResolveResult:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=str(address), port=port, family=family, proto=0, flags=flags)


def _literal(host: str) -> Address | None:
    """The address that a host is, if it is none that has to be looked up. Raises Refused for an odd spelling of one."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    if ":" in host or host.replace(".", "").isdigit():  # which aiohttp would hand on unchecked
        raise Refused("It names an address in an odd spelling.")
    return None
