"""Whatever is sent, the answer is the client's fault or none at all: never a 5xx."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from application.commands import SendEmail
from tests.web.conftest import Api, email

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
)
NAMES = st.sampled_from([field.alias or name for name, field in SendEmail.model_fields.items()])
TIMES = st.datetimes().map(lambda at: at.isoformat() + "+14:00") | st.sampled_from(["in 9999 days", "in 1 h"])
ADDRESSES = st.emails() | st.text(max_size=30).map(lambda text: f"{text}@example.com")
NEARLY = st.fixed_dictionaries(
    {"subject": st.text(), "to": ADDRESSES | st.lists(ADDRESSES, max_size=3)},
    optional={
        "scheduled_at": TIMES,
        "expires_at": TIMES,
        "metadata": st.dictionaries(st.text(), st.text()),
        "headers": st.dictionaries(st.text(), st.text()),
        "html": st.text(),
        "from": ADDRESSES,
    },
)
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON = {"Content-Type": "application/json"}


def fine(api: Api, method: str, path: str, **options: Any) -> None:
    response = api.request(method, path, **options)
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.json()["status"] == response.status_code


@MANY
@given(body=st.dictionaries(NAMES | st.text(), ANYTHING) | ANYTHING)
def test_any_json(api: Api, body: Any) -> None:
    for path in ("/emails", "/emails/batch"):
        fine(api, "POST", path, content=json.dumps(body), headers=JSON)
    fine(api, "POST", "/emails/batch", content=json.dumps([body]), headers={**JSON, "x-batch-validation": "permissive"})


@MANY
@given(fields=NEARLY)
def test_any_email_that_is_nearly_right(api: Api, fields: dict[str, Any]) -> None:
    fine(api, "POST", "/emails", content=json.dumps(email(**fields)), headers=JSON)


@MANY
@given(body=st.binary(max_size=200))
def test_any_bytes(api: Api, body: bytes) -> None:
    fine(api, "POST", "/emails", content=body, headers=JSON)


@MANY
@given(
    path=st.sampled_from(
        ["/emails", "/events", "/emails/x/events", "/recipients/a@example.com/activity", "/statistics"]
    ),
    query=st.dictionaries(
        st.sampled_from(
            ["limit", "after", "before", "since", "until", "per", "time_zone", "tag", "types", "as_of", "recipient"]
        ),
        st.text(),
    ),
)
def test_any_query(api: Api, path: str, query: dict[str, str]) -> None:
    api.run(api.world.read_models.wait_for(0, 0))
    fine(api, "GET", path, params=query)


@MANY
@given(value=st.binary(max_size=60).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b"")))
def test_any_header(api: Api, value: bytes) -> None:
    names = (b"idempotency-key", b"x-request-id", b"traceparent", b"accept", b"x-batch-validation", b"content-type")
    for name in names:
        headers = [(b"content-type", b"application/json"), (name, value)]
        fine(api, "POST", "/emails/batch", content=b"[{}]", headers=headers)
    for name in (b"authorization", b"postledger-wait-for", b"accept"):
        fine(api, "GET", "/emails/x", headers=[(name, value)])
