"""The README holds: its curl runs, its commands parse, and what it names is there."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from infrastructure.cli import main
from infrastructure.settings import Settings
from tests.service import API_KEY, serving

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
_BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
_LINES = [line for block in _BLOCKS for line in block.splitlines()]


def test_the_curl_sends_an_email(tmp_path: Path) -> None:
    (block,) = (block for block in _BLOCKS if block.startswith("curl"))
    with serving(tmp_path) as service:
        (tmp_path / "var/api-key").write_text(f"{API_KEY}\n")
        script = block.replace("http://127.0.0.1:8025", service.url).replace("curl ", "curl --silent --fail-with-body ")
        told = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
        status, email = service.ask("GET", f"/emails/{json.loads(told.stdout)['id']}")
    assert status == 200
    assert email["subject"] == "Your order"


@pytest.mark.parametrize("line", [line for line in _LINES if line.startswith("postledger ")])
def test_every_command_is_one(line: str) -> None:
    name, *arguments = shlex.split(line.replace("EMAIL_ID", "0" * 32), comments=True)[1:]
    command = main.commands[name]
    command.make_context(name, arguments)


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", README)) <= targets


def test_every_path_exists() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    named = re.findall(r"`((?:[a-z]+/)+|\.ci/run)`", README)
    assert named
    missing = [path for path in (*links, *named) if not (ROOT / path).exists()]
    assert missing == []


def test_every_setting_exists() -> None:
    named = set(re.findall(r"POSTLEDGER_([A-Z_]+)", README))
    assert named <= {name.upper() for name in Settings.model_fields}
