"""/healthz and /readyz: open to whatever watches over the process."""

import pytest

from application.errors import StoreUnavailable
from tests.web.conftest import Api

NO_KEY = {"Authorization": ""}


def test_alive_needs_nothing(api: Api) -> None:
    api.world.ledger.trouble = StoreUnavailable()
    response = api.get("/healthz", headers=NO_KEY)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(("trouble", "status"), [(None, 200), ("StoreUnavailable", 503)])
def test_ready_says_what_is_missing(api: Api, trouble: str | None, status: int) -> None:
    api.world.checks = {"ledger": trouble, "read_models": None}
    response = api.get("/readyz", headers=NO_KEY)
    assert response.status_code == status
    assert response.json()["checks"] == {"ledger": trouble, "read_models": None}
