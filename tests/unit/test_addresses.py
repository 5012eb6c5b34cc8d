"""Which addresses and URLs may be fetched."""

from ipaddress import ip_network

import pytest
from eah_vllm_server.hardening.media.addresses import URLRefused, check_address, check_url, is_public, plain_address

PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:8.8.8.8"]
NOT_PUBLIC = [
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",  # metadata of most clouds
    "100.100.100.200",  # of another; shared address space
    "168.63.129.16",  # of another; public by its number
    "192.0.0.192",  # of another
    "192.88.99.1",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",  # IPv4-compatible
    "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
    "64:ff9b:1::1",
    "2002:7f00:1::",  # 6to4 of 127.0.0.1
    "2002:808:808::",  # 6to4 of a public one: the relay decides
    "2001:0:0:0:0:0:0:1",  # Teredo
    "100::1",
    "3fff::1",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public(text: str) -> None:
    assert is_public(plain_address(text))
    check_address(text, ())


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_not_public(text: str) -> None:
    assert not is_public(plain_address(text))
    with pytest.raises(URLRefused, match="not public"):
        check_address(text, ())


def test_the_operator_can_allow_a_network() -> None:
    check_address("10.1.2.3", [ip_network("10.1.0.0/16")])
    check_address("::ffff:10.1.2.3", [ip_network("10.1.0.0/16")])
    check_address("fd00::5", [ip_network("10.1.0.0/16"), ip_network("fd00::/64")])
    for outside in ("10.2.0.1", "127.0.0.1", "fd00:0:0:1::5"):
        with pytest.raises(URLRefused):
            check_address(outside, [ip_network("10.1.0.0/16"), ip_network("fd00::/64")])


DOMAINS = ["images.example.com", "bücher.example", "93.184.215.14", "127.0.0.1", "2606:4700:4700::1111", "::1"]


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("https://images.example.com/a.png?b=c#d", "images.example.com", 443),
        ("http://images.example.com:8080/a.png", "images.example.com", 8080),
        ("HTTPS://Images.Example.COM/a.png", "images.example.com", 443),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443),
        ("https://bücher.example/", "xn--bcher-kva.example", 443),
        ("http://93.184.215.14/a.png", "93.184.215.14", 80),
        ("http://[2606:4700:4700::1111]/a.png", "2606:4700:4700::1111", 80),
    ],
)
def test_url_that_is_allowed(text: str, host: str, port: int) -> None:
    url = check_url(text, DOMAINS, ())
    assert (url.raw_host, url.port) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com/",
        "https://evil.images.example.com/",
        "https://images.example.com.evil.com/",
        "https://images.example.com./",
        "https://evil.com/images.example.com",
        "https://evil.com#images.example.com",
        "https://evil.com\\@images.example.com/",
        "https://images.example.com@evil.com/",
        "https://images.example.com:443@evil.com/",
        "https://user@images.example.com/",
        "https://:secret@images.example.com/",
        "ftp://images.example.com/a",
        "file:///etc/passwd",
        "//images.example.com/a",
        "images.example.com/a",
        "https:///a",
        "https://images.example.com:99999/",
        "https://images.example.com:port/",
        "http://127.0.0.1/",  # named by the operator, but not public
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://127.1/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://0x7f000001/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://[fe80::1%25eth0]/",
        "https://images.example.com/" + "a" * 5000,
        "",
        "http://",
        "http://[",
    ],
)
def test_url_that_is_refused(text: str) -> None:
    with pytest.raises(URLRefused):
        check_url(text, DOMAINS, ())


def test_an_allowed_network_lets_an_address_pass() -> None:
    assert check_url("http://127.0.0.1:5/", DOMAINS, [ip_network("127.0.0.1/32")]).port == 5


def test_no_domain_is_allowed_unless_named() -> None:
    with pytest.raises(URLRefused, match="--allowed-media-domains"):
        check_url("https://images.example.com/", [], ())
