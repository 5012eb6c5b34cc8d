"""Which addresses and hosts a URL that a client sent may lead to."""

from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from yarl import URL

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# A public address by its number, but a large cloud's hypervisor answers there, with secrets of the machine.
METADATA_ADDRESSES = frozenset({IPv4Address("168.63.129.16")})
# Special networks that not every version of Python's `ipaddress` knows (RFC 6890 and its registries).
SPECIAL_NETWORKS: tuple[Network, ...] = (
    IPv4Network("192.0.0.0/24"),  # protocol assignments; metadata of one cloud
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv6Network("64:ff9b::/96"),  # NAT64, 6to4 and Teredo carry an IPv4 address that would escape the check
    IPv6Network("64:ff9b:1::/48"),
    IPv6Network("2002::/16"),
    IPv6Network("2001::/23"),
    IPv6Network("3fff::/20"),  # documentation
    IPv6Network("5f00::/16"),  # segment routing
)
MAX_URL_CHARACTERS = 4096


class URLRefused(ValueError):
    """A URL that is not fetched; the message says why, and never repeats the URL."""


def plain_address(text: str) -> Address:
    """Return an address as a socket will connect to it: `::ffff:10.0.0.1` is 10.0.0.1.

    Raises:
        ValueError: the text is not an address in canonical form (`127.1` and `0x7f000001` are not).
    """
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def is_public(address: Address) -> bool:
    """Whether an address is an ordinary one of the internet: not of this machine, its networks, or a special kind."""
    special = address.is_multicast or address.is_reserved or address.is_link_local or address.is_unspecified
    if isinstance(address, IPv6Address):
        special = special or address.is_site_local
    special = special or any(address in network for network in SPECIAL_NETWORKS)
    return address.is_global and not special and address not in METADATA_ADDRESSES


def check_address(text: str, allowed: Sequence[Network]) -> None:
    """Refuse an address that is neither public nor in a network that the operator allows.

    Raises:
        URLRefused: it is not allowed; the message says why.
    """
    address = plain_address(text)
    if is_public(address) or any(address in network for network in allowed):
        return
    raise URLRefused("its host is at an address that is not public; this server fetches from public addresses only")


def check_url(text: str, domains: Collection[str], allowed: Sequence[Network]) -> URL:
    """Return the URL as it will be requested, once its scheme, its host and any address in it are found to be allowed.

    Args:
        text: what the client or a redirect says.
        domains: hosts that may be asked; an internationalized name in either of its forms.
        allowed: networks that may be asked although they are not public.

    Raises:
        URLRefused: it is not allowed; the message says why.
    """
    if len(text) > MAX_URL_CHARACTERS:
        raise URLRefused(f"it is longer than {MAX_URL_CHARACTERS} characters")
    try:
        url = URL(text)
        port = url.port
    except ValueError as error:
        raise URLRefused("it is not a URL") from error
    if url.scheme not in ("http", "https") or not url.raw_host or not port:
        raise URLRefused("only http and https URLs with a host are fetched")
    if url.raw_user or url.raw_password:
        raise URLRefused("it carries a user name or password")
    if url.raw_host not in {_ascii_host(domain) for domain in domains}:
        raise URLRefused("its host is not one that this server may fetch from (--allowed-media-domains)")
    if ":" in url.raw_host or url.raw_host.replace(".", "").isdigit():  # an address: no resolver will see it
        try:
            check_address(url.raw_host, allowed)
        except URLRefused:
            raise
        except ValueError as error:
            raise URLRefused("its host is not an address in canonical form") from error
    return url


def _ascii_host(domain: str) -> str | None:
    return URL.build(scheme="http", host=domain.strip("[]").lower()).raw_host
