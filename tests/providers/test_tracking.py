"""Mail that gives up tracking: each API's own switch, for this message alone; nothing is said about it otherwise."""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from infrastructure.providers.ses import SesProvider, SesSettings
from tests.mail import NOW, outgoing
from tests.providers.http_stub import HttpStub
from tests.providers.rigs import RIGS
from tests.providers.rigs.ses import accepted, url


def sent(kind: str, *, tracking: bool) -> bytes:
    async def run() -> bytes:
        async with RIGS[kind]() as rig:
            await rig.provider.send(replace(outgoing(), tracking=tracking))
            return rig.received[0]

    return asyncio.run(run())


def fields(form: bytes) -> Mapping[str, str]:
    found = re.findall(rb'name="(o:[\w-]+)"\r\n\r\n([^\r]*)\r\n', form)
    return {name.decode(): value.decode() for name, value in found}


def document(body: bytes) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(body)
    return found


def test_sendgrid_is_told_not_to_track() -> None:
    untracked, plain = (document(sent("sendgrid", tracking=tracking)) for tracking in (False, True))
    assert untracked["tracking_settings"] == {
        "click_tracking": {"enable": False, "enable_text": False},
        "open_tracking": {"enable": False},
    }
    assert plain == {name: value for name, value in untracked.items() if name != "tracking_settings"}


def test_mailgun_is_told_not_to_track() -> None:
    off = {"o:tracking": "no", "o:tracking-clicks": "no", "o:tracking-opens": "no"}
    assert fields(sent("mailgun", tracking=False)) == off
    assert fields(sent("mailgun", tracking=True)) == {}


def test_postmark_is_told_not_to_track() -> None:
    untracked, plain = (document(sent("postmark", tracking=tracking)) for tracking in (False, True))
    assert untracked == {**plain, "TrackOpens": False, "TrackLinks": "None"}
    assert not {"TrackOpens", "TrackLinks"} & set(plain)


@pytest.mark.parametrize(
    ("options", "untracked"),
    [
        ({"configuration_set": "mail", "untracked_configuration_set": "quiet"}, "quiet"),
        ({"configuration_set": "mail"}, "mail"),  # rather tracked than without word of its bounces
        ({"untracked_configuration_set": "quiet"}, "quiet"),
        ({}, None),
    ],
)
def test_ses_goes_by_another_configuration_set(options: Mapping[str, str], untracked: str | None) -> None:
    async def run() -> list[str | None]:
        async with HttpStub(accepted()) as stub:
            provider = SesProvider("ses", SesSettings.from_url(url(stub.host, **options)), lambda: NOW)
            for tracking in (False, True):
                assert (await provider.send(replace(outgoing(), tracking=tracking))).error_class is None
            await provider.close()
            return [request.json().get("ConfigurationSetName") for request in stub.requests]

    assert asyncio.run(run()) == [untracked, options.get("configuration_set")]


@pytest.mark.parametrize("kind", ["resend", "smtp"])
def test_who_has_no_switch_sends_the_same(kind: str) -> None:
    assert sent(kind, tracking=False) == sent(kind, tracking=True)
