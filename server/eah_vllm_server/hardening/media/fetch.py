"""Fetches a URL that a client sent, from allowed hosts at public addresses only.

The address is checked where the name is resolved, and the connection goes to that very address, so a name that later
resolves to another one (DNS rebinding) gains nothing. Every redirect passes all checks again.
"""

import asyncio
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from eah_vllm_server.hardening.media.addresses import Network, URLRefused, check_address, check_url

MAX_REDIRECTS = 3
CHUNK_BYTES = 64 * 1024
REDIRECTS = (301, 302, 303, 307, 308)
# `identity` asks for no compression: a compressed body could be small on the wire and huge here.
HEADERS = {"User-Agent": "eah-vllm", "Accept": "*/*", "Accept-Encoding": "identity"}


class FetchFailed(ValueError):
    """An allowed URL did not give what was asked for."""


class CheckedResolver(AbstractResolver):
    """Uses the system's resolver, and refuses a name with any address that is not allowed."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._resolver = aiohttp.ThreadedResolver()
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Resolve a host to its addresses.

        Raises:
            URLRefused: one of them is neither public nor allowed.
        """
        found = await self._resolver.resolve(host, port, family)
        for result in found:
            check_address(result["host"], self._allowed)
        return found

    async def close(self) -> None:
        """Do nothing: this resolver holds no resources, but its base class asks for the method."""
        await self._resolver.close()


@dataclass(frozen=True, slots=True)
class FetchRules:
    """The rules for one fetch: allowed hosts and networks, bounds on size and time, and whether to follow redirects."""

    domains: Collection[str]
    networks: Sequence[Network]
    """Networks that are allowed although they are not public."""
    max_bytes: int
    seconds: float | None
    """Time for the whole fetch: names, connections, redirects and the body; None for no bound."""
    redirects: bool


async def fetch(url: str, rules: FetchRules) -> bytes:
    """Return the body behind a URL.

    Raises:
        URLRefused: the URL, a redirect or an address is not allowed.
        FetchFailed: the other server answered with an error, or did not answer in time.
    """
    connector = aiohttp.TCPConnector(resolver=CheckedResolver(rules.networks), use_dns_cache=False, force_close=True)
    # No proxy from the environment: it would resolve names itself, unchecked.
    session = aiohttp.ClientSession(
        connector=connector, trust_env=False, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    )
    try:
        async with asyncio.timeout(rules.seconds), session:
            return await _follow(session, url, rules)
    except TimeoutError as error:
        raise FetchFailed(f"its host did not send it within {rules.seconds} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise FetchFailed(f"its host could not be asked ({type(error).__name__})") from error


async def _follow(session: aiohttp.ClientSession, url: str, rules: FetchRules) -> bytes:
    for _ in range(MAX_REDIRECTS + 1):
        target = check_url(url, rules.domains, rules.networks)
        async with session.get(target, allow_redirects=False, headers=HEADERS) as response:
            if response.status == HTTPStatus.OK:
                return await _read(response, rules.max_bytes)
            location = response.headers.get("Location", "")
            if response.status not in REDIRECTS or not location:
                raise FetchFailed(f"its host answered {response.status}")
        if not rules.redirects:
            raise URLRefused("it redirects, and redirects are switched off here")
        try:
            url = str(target.join(URL(location)))
        except ValueError as error:
            raise URLRefused("it redirects to something that is not a URL") from error
    raise URLRefused(f"it redirects more than {MAX_REDIRECTS} times")


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise FetchFailed("its host compressed it, unasked")
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            raise FetchFailed(f"it is larger than {max_bytes} bytes (eah_http.media_bytes)")
    return bytes(body)
