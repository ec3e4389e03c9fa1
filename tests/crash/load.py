"""A client that does not give up: it repeats a command under its key until it is told that it was accepted."""

import http.client
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping


class Client:
    """Sends one email after another in a thread, each with its own idempotency key."""

    def __init__(
        self, port: int, key: str, name: str, *, pause: float = 0.0, patience: float = 20.0, several: bool = False
    ) -> None:
        """`pause` between two commands and `patience` for an answer are in seconds. `several`: every third has two
        recipients."""
        self.accepted: dict[str, str] = {}  # idempotency key -> email id
        self.surprises: list[str] = []  # answers that no client should get
        self._url = f"http://127.0.0.1:{port}/emails"
        self._key = key
        self._name = name
        self._pause = pause
        self._patience = patience
        self._several = several
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let the command under way be accepted, then end."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the last command was never accepted"
        assert self.surprises == []

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            key = f"{self._name}-{number}"
            self.accepted[key] = self._until_accepted(key, number)
            number += 1
            self._stop.wait(self._pause)

    def _until_accepted(self, key: str, number: int) -> str:
        while True:
            if id := self._post(
                key, {"from": "a@example.org", "to": self._people(key, number), "subject": f"{number}"}
            ):
                return id
            threading.Event().wait(0.05)  # the process was killed; it is on its way back

    def _post(self, key: str, email: Mapping[str, object]) -> str | None:
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        body = json.dumps({**email, "text": "Hello"}).encode()
        request = urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310 - our own loopback server
        try:
            with urllib.request.urlopen(request, timeout=self._patience) as response:  # noqa: S310
                return str(json.load(response)["id"])
        except urllib.error.HTTPError as error:
            if error.code != 503:
                self.surprises.append(error.read().decode())
        except (OSError, http.client.HTTPException, ValueError):
            pass  # killed before, during or after the answer: ask again under the same key
        return None

    def _people(self, key: str, number: int) -> list[str]:
        many = 2 if self._several and number % 3 == 2 else 1
        return [f"{key}.{place}@example.com" for place in range(many)]
