"""Calls to the outside never reach inside, however the address is spelt and whatever name servers say."""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from infrastructure.outbound import CheckedResolver, Outbound, Refused, Unanswered, check_url, is_outside
from tests.providers.http_stub import Answered, Broken, HttpStub

INSIDE = (
    *("0.0.0.1", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254"),
    *("169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1"),
    *("192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("168.63.129.16", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::"),
    *(
        "2002:a9fe:a9fe::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%lo",
        "fec0::1",
        "ff02::1",
    ),
)
OUTSIDE = (
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "126.255.255.255"),
    *("172.15.255.255", "172.32.0.1", "192.167.255.255", "192.169.0.1", "198.17.255.255", "198.20.0.1"),
    *("223.255.255.255", "2600::1", "2606:4700:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808"),
)


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_known_as_such(address: str) -> None:
    assert not is_outside(ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(Refused):
        check_url(f"https://{host}/hook")
    assert check_url(f"https://{host}/hook", internal=True)


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_outside_is_known_as_such(address: str) -> None:
    assert is_outside(ip_address(address))
    assert check_url(f"https://{f'[{address}]' if ':' in address else address}:8443/hook")


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com/", "http://10.0.0.1/", "http://127.0.0.1.example.com/", "ftp://example.com/", "https://"),
        *("https:///hook", "example.com/hook", "", "https://user:secret@example.com/", "https://user@example.com/"),
        *(
            "file:///etc/passwd",
            "https://[::1",
            "https://example.com:port/",
            "https://2130706433/",
            "https://0177.0.0.1/",
        ),
        *("https://127.1/", "https://127.0.0.1\\@example.com/", "gopher://127.0.0.1/"),
    ],
)
@pytest.mark.parametrize("internal", [False, True])
def test_what_is_no_https_url_is_refused_even_where_inside_is_allowed(url: str, internal: bool) -> None:
    with pytest.raises(Refused) as refused:
        check_url(url, internal=internal)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000/", "http://localhost/", "http://[::1]/"])
def test_this_machine_itself_may_do_without_tls_once_inside_is_allowed(url: str) -> None:
    assert check_url(url, internal=True)


class NameServer:
    """Answers with what comes next, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def look_up(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def post(outbound: Outbound, url: str) -> int:
    async def course() -> int:
        try:
            return await outbound.post(url, b"{}", {})
        finally:
            await outbound.close()

    return asyncio.run(course())


# What the resolver of a machine makes of such spellings is an address inside.
@pytest.mark.parametrize("host", ["hooks.example.com", "localhost", "0x7f.1", "127.0.0.1.nip.io", "x.local"])
@pytest.mark.parametrize(
    "answers", [["127.0.0.1"], ["::1"], ["::ffff:10.1.2.3"], ["fe80::1%eth0"], ["10.0.0.1", "::1"]]
)
def test_a_name_that_leads_inside_is_refused(host: str, answers: list[str]) -> None:
    names = NameServer(answers)
    with pytest.raises(Refused):
        post(Outbound(look_up=names.look_up), f"https://{host}/hook")
    assert names.asked == [host]


def test_a_name_server_that_changes_its_mind_is_asked_once_for_each_connection() -> None:
    """Rebinding: an address outside for the check, one inside for the call. There is no second question."""

    async def course() -> None:
        async with HttpStub(Answered(200)) as stub:
            first, other = "127.0.0.1", "127.0.0.2"
            names = NameServer([first], [other])
            outbound = Outbound(internal=True, look_up=names.look_up, timeout=5)
            try:
                assert await outbound.post(f"http://localhost:{stub.port}/hook", b"{}", {}) == 200
                assert names.asked == ["localhost"]
                assert len(stub.requests) == 1
            finally:
                await outbound.close()

    asyncio.run(course())


def test_of_several_addresses_only_those_outside_are_tried() -> None:
    names = NameServer(["127.0.0.1", "2606:4700::1", "fe80::1%eth0", "8.8.8.8"])
    resolver = CheckedResolver(names.look_up, internal=False)
    found = asyncio.run(resolver.resolve("hooks.example.com", 443))
    assert [(each["host"], each["port"], each["family"]) for each in found] == [
        ("2606:4700::1", 443, socket.AF_INET6),
        ("8.8.8.8", 443, socket.AF_INET),
    ]


@pytest.mark.parametrize("target", ["/elsewhere", "http://169.254.169.254/", "https://example.com/"])
def test_no_redirect_is_followed(target: str) -> None:
    async def course() -> None:
        async with HttpStub(Answered(302, {"Location": target})) as stub:
            outbound = Outbound(internal=True)
            try:
                assert await outbound.post(f"http://{stub.host}/hook", b"{}", {}) == 302
            finally:
                await outbound.close()
            assert [request.path for request in stub.requests] == ["/hook"]

    asyncio.run(course())


@pytest.mark.parametrize("broken", list(Broken))
def test_a_call_without_an_answer_names_the_trouble_and_not_the_url(broken: Broken) -> None:
    async def course() -> None:
        async with HttpStub(broken) as stub:
            outbound = Outbound(internal=True, timeout=0.2)
            try:
                if broken is Broken.RESET_IN_ANSWER:  # whose status had come
                    assert await outbound.post(f"http://{stub.host}/hook", b"{}", {}) == 200
                    return
                with pytest.raises(Unanswered) as caught:
                    await outbound.post(f"http://{stub.host}/a-secret-path", b"{}", {})
                assert "a-secret-path" not in str(caught.value)
            finally:
                await outbound.close()

    asyncio.run(course())
