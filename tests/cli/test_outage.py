"""A database that goes away while the service runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ledger.test_outages import Restartable
from tests.service import QUICK, serving, until

EMAIL = {"from": "service@example.org", "to": "delivered@sandbox.test", "subject": "Hello", "text": "Hello"}


@pytest.fixture
def database() -> Iterator[Restartable]:
    server = Restartable()
    yield server
    server.stop()


def test_it_is_said_to_be_away_nothing_is_half_done_and_all_goes_on_when_it_is_back(
    tmp_path: Path, database: Restartable
) -> None:
    with serving(tmp_path, settings={**QUICK, "database_url": database.fresh_database()}) as service:
        assert service.ask("POST", "/emails", EMAIL)[0] == 202
        database.halt()
        status, problem = service.ask("POST", "/emails", EMAIL)
        assert (status, problem["code"]) == (503, "store_unavailable")
        assert service.ask("GET", "/emails")[0] == 503
        assert service.ask("GET", "/healthz")[0] == 200
        database.resume()
        until(lambda: service.ask("POST", "/emails", EMAIL)[0] == 202)
        until(lambda: _statuses(service.ask("GET", "/emails")) == ["delivered"] * 2)
        assert service.stop() == 0


def _statuses(answer: tuple[int, dict[str, list[dict[str, str]]]]) -> list[str]:
    return [email["status"] for email in answer[1].get("data", [])]
