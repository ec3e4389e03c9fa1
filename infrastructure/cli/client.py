"""The HTTP client of the commands that talk to a running service."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import httpx2

from infrastructure.cli.failures import FAILED, NOT_FOUND, UNREACHABLE, USAGE, Failure
from infrastructure.settings import Settings, load_settings

_TIMEOUT = 30.0
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a service listens, not where one calls it
_ADVICE: Mapping[int, tuple[int, str]] = {
    401: (USAGE, "Give the service's key with --api-key-file, or set POSTLEDGER_API_KEY."),
    403: (USAGE, "Is this the key of the service at that address? See --api-key-file and --url."),
    404: (NOT_FOUND, "Are the id, and the service asked (--url), the right ones?"),
    422: (USAGE, ""),
    503: (UNREACHABLE, "It will be back; `postledger doctor` tells what is away."),
}


class Client:
    """One service and one key."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        self._http = httpx2.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=_TIMEOUT, trust_env=False
        )

    def ask(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """The answer. Raises Failure, told for people, for anything but a success."""
        try:
            response = self._http.request(method, path, **request)
        except httpx2.TransportError as error:
            raise unreachable(self.url, error) from None
        return check(response)

    @contextmanager
    def stream(self, path: str, **request: Any) -> Iterator[httpx2.EventSource]:
        """Server-sent events. Breaking off raises httpx2.TransportError; a refusal, Failure."""
        timeout = httpx2.Timeout(_TIMEOUT)  # heartbeats come every 15 seconds
        with self._http.sse(path, timeout=timeout, **request) as events:
            if events.response.is_error:
                events.response.read()
            check(events.response)
            yield events

    def download(self, path: str) -> Iterator[bytes]:
        """The body as it comes. Raises Failure, also when it breaks off."""
        try:
            with self._http.stream("GET", path) as response:
                if response.is_error:
                    response.read()
                yield from check(response).iter_bytes()
        except httpx2.TransportError as error:
            raise unreachable(self.url, error) from None

    def close(self) -> None:
        self._http.close()


def unreachable(url: str, error: Exception) -> Failure:
    message = f"No Postledger answers at {url} ({type(error).__name__})."
    return Failure(message, "Start it with `postledger serve`, or name another with --url.", UNREACHABLE)


def check(response: httpx2.Response) -> httpx2.Response:
    """The response, if it is a success. Raises Failure."""
    if response.is_success:
        return response
    code, advice = _ADVICE.get(response.status_code, (FAILED, ""))
    raise Failure(f"The service answered {response.status_code}: {_detail(response)}", advice, code)


def _detail(response: httpx2.Response) -> str:
    try:
        problem = response.json()
        return "; ".join(f"{e['field']} {e['message']}" for e in problem.get("errors", ())) or str(problem["detail"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return response.reason_phrase


@contextmanager
def connected(url: str | None, api_key_file: Path | None) -> Iterator[Client]:
    """A client of the service the options name, or else of the one the settings would serve."""
    settings = load_settings()
    client = Client(_checked(url) if url else service_url(settings), _key(settings, api_key_file))
    try:
        yield client
    finally:
        client.close()


def _checked(url: str) -> str:
    try:
        if httpx2.URL(url).scheme in ("http", "https"):
            return url
    except httpx2.InvalidURL:
        pass
    raise click.BadParameter("must be a URL such as http://127.0.0.1:8025", param_hint="--url")


def service_url(settings: Settings) -> str:
    """Where a service with these settings is to be found from here."""
    return http_url(_WILDCARDS.get(settings.host, settings.host), settings.port)


def http_url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _key(settings: Settings, file: Path | None) -> str:
    if file is None:
        return next(iter(settings.api_keys()))
    try:
        return file.read_text().strip()
    except OSError as error:
        raise click.BadParameter(f"{file}: {error.strerror}", param_hint="--api-key-file") from None
