"""The suppression list as a file: out and in again, with whatever people's spreadsheets make of it."""

import csv
import io
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.web.suppression_csv import Refused, guarded, imported, unguarded, written
from tests.web.conftest import Api
from tests.web.world import OTHER_KEY

CSV = {"Content-Type": "text/csv"}


def take(api: Api, text: str | bytes, **headers: str) -> dict[str, Any]:
    response = api.post("/suppressions/import", content=text, headers={**CSV, **headers})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def exported(api: Api, **headers: str) -> list[dict[str, str]]:
    api.run(api.world.read_models.wait_for(0, 0))
    response = api.get("/suppressions/export", headers=headers)
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in response.headers["content-disposition"]
    return list(csv.DictReader(io.StringIO(response.text)))


def test_good_lines_are_added_and_bad_ones_told_of(api: Api) -> None:
    told = take(
        api,
        "\ufeffAddress,Scope,rule,Reason,created\r\n"
        "ada@example.com,,,,2020-01-01\r\n"
        "\r\n"
        "not an address,,,,\r\n"
        'Bob <bob@example.com>,news,unsubscribe,"asked, twice",\r\n'
        "cy@example.com,all mail,,,\r\n"
        "dan@example.com,,guess,,\r\n"
        "eve@example.com,too,few\r\n"
        '"fay@example.com,,,,\r\n'
        "ada@EXAMPLE.com,,,,\r\n"
        "gus@example.com,,complaint,,",
    )
    refused = {line["line"]: line["message"] for line in told.pop("refused")}
    assert told == {"object": "suppression_import", "added": 3, "already": 1, "refused_count": 5}
    assert list(refused) == [4, 6, 7, 8, 9]
    assert [refused[line].split()[0] for line in (4, 6, 7)] == ["email", "scope", "rule"]
    assert refused[8] == "has 3 cell(s) where the header has 5"
    assert "CSV" in refused[9]
    rows = {row["email"]: (row["scope"], row["rule"], row["reason"]) for row in exported(api)}
    assert rows == {
        "ada@example.com": ("*", "manual", ""),
        "bob@example.com": ("news", "unsubscribe", "asked, twice"),
        "gus@example.com": ("*", "complaint", ""),
    }


def test_importing_what_was_exported_adds_nothing_here_and_the_same_elsewhere(api: Api) -> None:
    take(api, "email,reason\n=1+1@example.com,=HYPERLINK(1)\n'o@example.com,'quoted'\n+x@example.com,-\n")
    api.run(api.world.read_models.wait_for(0, 0))
    file = api.get("/suppressions/export").content
    assert b"'=1+1@example.com" in file
    again = take(api, file)
    assert (again["added"], again["already"], again["refused"]) == (0, 3, [])
    other = f"Bearer {OTHER_KEY}"
    assert take(api, file, Authorization=other)["added"] == 3
    here, there = exported(api), exported(api, Authorization=other)
    same = ("email", "reason", "scope", "rule")
    assert [[row[name] for name in same] for row in here] == [[row[name] for name in same] for row in there]


@given(cells=st.lists(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"])), min_size=1))
def test_a_cell_comes_back_whole_and_is_never_a_formula(cells: list[str]) -> None:
    assert [unguarded(guarded(cell)) for cell in cells] == cells
    (line,) = csv.reader(io.StringIO(written([cells])))
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in line)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"ada@example.com\n", b"name,reason\nada,x\n", b"email;scope\nada@example.com;*\n", b'"email\n'),
        "email\nada@example.com\n".encode("utf-16"),
    ],
)
def test_without_a_header_nothing_is_guessed(api: Api, body: bytes) -> None:
    response = api.post("/suppressions/import", content=body, headers=CSV)
    (error,) = response.json()["errors"]
    assert (response.status_code, error["field"]) == (422, "line 1")


def test_what_is_not_utf8_spoils_its_own_line_only(api: Api) -> None:
    told = take(api, b"email,reason\nada@example.com,caf\xe9\nbob@example.com,fine\n")
    assert (told["added"], told["refused"]) == (1, [{"line": 2, "message": "is not UTF-8"}])


def test_only_csv_is_taken_and_no_more_than_the_limit(api: Api) -> None:
    response = api.post("/suppressions/import", json={"email": "ada@example.com"})
    assert (response.status_code, "text/csv" in response.json()["detail"]) == (415, True)
    large = b"email\n" + b"ada@example.com\n" * 700_000
    assert api.post("/suppressions/import", content=large, headers=CSV).status_code == 413
    typed = api.post("/suppressions/import", content="email\n", headers={"Content-Type": "Text/CSV; charset=utf-8"})
    assert (typed.status_code, typed.headers["Postledger-Position"]) == (200, "0")


def test_a_long_list_is_exported_whole_and_in_order(api: Api) -> None:
    lines = [f"{number}@example.com" for number in range(2345)]
    assert take(api, "email\n" + "\n".join(lines))["added"] == len(lines)
    assert sorted(row["email"] for row in exported(api)) == sorted(lines)
    assert exported(api, Authorization=f"Bearer {OTHER_KEY}") == []


def test_many_bad_lines_do_not_make_a_huge_answer(api: Api) -> None:
    told = take(api, "email\n" + "x\n" * 12_000)
    assert (told["refused_count"], len(told["refused"])) == (12_000, 10_000)


def test_a_hundred_thousand_lines_are_read_in_bounded_memory() -> None:
    body = b"email,reason\n" + b"".join(b"person-%d@example.com,moved\n" % number for number in range(100_000))
    tracemalloc.start()
    try:
        kinds = [0, 0]
        for line in imported(body, "api:1"):
            kinds[isinstance(line, Refused)] += 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kinds == [100_000, 0]
    assert peak < 5_000_000
