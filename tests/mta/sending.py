"""A Postledger that sends through Postfix, and what it says became of an email."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.mta.postfix import Postfix
from tests.service import QUICK, RunningService, serving, until

VERP_KEY = "only-for-tests"
FAILED = "email.recipient_delivery_failed"


@dataclass(frozen=True, slots=True)
class Sending:
    """One running service."""

    http: RunningService

    def send(self, *to: str, **fields: Any) -> str:
        """The id of an email that Postfix has been asked to take, for each of its recipients."""
        email = {"from": "Shop <shop@example.org>", "to": to, "subject": "Your order", "text": "On its way."}
        status, accepted = self.http.ask("POST", "/emails", email | fields)
        assert status == 202, accepted
        until(lambda: self.status(accepted["id"]) not in ("queued", "sending"))
        return str(accepted["id"])

    def status(self, email: str) -> str:
        return str(self.http.ask("GET", f"/emails/{email}")[1]["status"])

    def recipients(self, email: str) -> dict[str, str]:
        """How far it got, by address."""
        return {each["address"]: each["status"] for each in self.http.ask("GET", f"/emails/{email}")[1]["recipients"]}

    def history(self, email: str) -> list[dict[str, Any]]:
        history: list[dict[str, Any]] = self.http.ask("GET", f"/emails/{email}/events")[1]["data"]
        return history

    def reports(self, email: str, type_: str = FAILED) -> dict[str, dict[str, Any]]:
        """What events of this type say, by the address of the recipient."""
        history = self.history(email)
        addresses = {each["id"]: each["address"] for each in history[0]["data"]["recipients"]}
        return {addresses[e["data"]["recipient_id"]]: e["data"] for e in history if e["type"].startswith(f"{type_}.")}

    def suppression(self, address: str) -> tuple[int, dict[str, Any]]:
        return self.http.ask("GET", f"/suppressions/{quote(address)}")

    def deliver_hook(self, mail: bytes) -> int:
        """The status that is answered to a mail brought by hand."""
        return self.http.ask("POST", "/hooks/relay", mail, **{"Content-Type": "message/rfc822"})[0]


@contextmanager
def sending_through(postfix: Postfix, directory: Path, bounces: str, *options: str) -> Iterator[Sending]:
    """A service on SQLite whose bounces go to this user at bounces.example.test."""
    query = "&".join(("starttls=off", f"bounce={bounces}@bounces.example.test", f"verp_key={VERP_KEY}", *options))
    providers = {"providers": f"relay=smtp://127.0.0.1:{postfix.port}?{query}"}
    with serving(directory, settings={**QUICK, **providers}) as http:
        yield Sending(http)
