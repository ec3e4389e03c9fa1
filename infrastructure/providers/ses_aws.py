"""boto3 for SES, SNS and SQS, called from threads of our own: what AWS says is data, whatever it says.

boto3 and its retries: by default it repeats a POST up to five times, even after a read timeout; here it never does,
unless asked to for a call that only reads. It is imported with the first call, because that takes a third of a second.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from threading import Lock, local
from typing import Any

from application.errors import ProviderTrouble
from infrastructure.providers.http import AnswerLost, NotOurs, NotSent
from infrastructure.providers.reading import get, text

_CONNECT_TIMEOUT = 5.0  # seconds

# boto3's own errors by the name of their class, which saves importing them. All others may have come after the request.
_NOT_SENT = frozenset({"EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError"})
_REFUSED_HERE = frozenset(
    {
        *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "MetadataRetrievalError"),
        *("NoAuthTokenError", "TokenRetrievalError", "UnauthorizedSSOTokenError", "SSOError"),
        *("ProfileNotFound", "ConfigParseError", "ConfigNotFound", "InvalidConfigError"),
        *("BaseEndpointResolverError", "InvalidRegionError", "ParamValidationError"),
    }
)


@dataclass(frozen=True, slots=True)
class AwsAccess:
    """Where AWS is and who we are there. Without a key it is for boto3 to find one: environment, profile, role."""

    region: str
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    endpoint: str | None = None  # of all services; None: AWS itself
    timeout: float = 30.0  # seconds that an answer may take
    connections: int = 16


class Aws:
    """boto3's clients, opened with the first call."""

    def __init__(self, access: AwsAccess) -> None:
        self._access = access
        self._threads = ThreadPoolExecutor(access.connections, thread_name_prefix="aws")
        self._opening = Lock()  # boto3's sessions are not thread-safe; its clients are
        self._session: Any = None
        self._clients: dict[tuple[str, str, int], Any] = {}
        self._under_way = local()  # each call has its thread

    async def call(
        self,
        service: str,
        operation: str,
        *,
        region: str | None = None,
        attempts: int = 1,
        still_ours: Callable[[], bool] = lambda: True,
        **arguments: Any,
    ) -> Mapping[str, Any]:
        """The answer, or an error as boto3 has it: `{"Error": {"Code": …, "Message": …}, "ResponseMetadata": …}`.

        Raises NotSent and AnswerLost. `still_ours` is asked when the request is signed and ready.
        """
        wanted = (service, region or self._access.region, attempts)
        work = partial(self._call, wanted, operation, arguments, still_ours)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def ask(self, service: str, operation: str, **arguments: Any) -> Mapping[str, Any]:
        """The answer. Raises ProviderTrouble, which names the error's code and nothing personal."""
        try:
            answer = await self.call(service, operation, **arguments)
        except (NotSent, AnswerLost) as trouble:
            raise ProviderTrouble(f"{operation} was not answered: {trouble}") from None
        if "Error" in answer:
            raise ProviderTrouble(f"{operation} was refused: {text(get(answer, 'Error', 'Code')) or 'unknown'}")
        return answer

    async def close(self) -> None:
        """Begin nothing more. A call under way ends by itself, within its timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for client in self._clients.values():
            client.close()

    def _call(
        self,
        wanted: tuple[str, str, int],
        operation: str,
        arguments: Mapping[str, Any],
        still_ours: Callable[[], bool],
    ) -> Mapping[str, Any]:
        from botocore.exceptions import ClientError

        self._under_way.still_ours = still_ours
        try:
            answer: Mapping[str, Any] = getattr(self._client(wanted), operation)(**arguments)
        except ClientError as error:
            return dict(error.response)
        except Exception as error:  # noqa: BLE001 - boto3's parsers fail at strange answers in whatever way
            return _failed(error)
        return answer

    def _client(self, wanted: tuple[str, str, int]) -> Any:
        with self._opening:
            if wanted not in self._clients:
                self._clients[wanted] = self._open(*wanted)
            return self._clients[wanted]

    def _open(self, service: str, region: str, attempts: int) -> Any:
        import boto3
        from botocore.config import Config

        access = self._access
        if self._session is None:
            self._session = boto3.Session(
                aws_access_key_id=access.access_key or None, aws_secret_access_key=access.secret_key or None
            )
        config = Config(
            retries={"total_max_attempts": attempts, "mode": "standard"},
            connect_timeout=min(_CONNECT_TIMEOUT, access.timeout),
            read_timeout=access.timeout,
            max_pool_connections=access.connections,
        )
        client = self._session.client(service, region_name=region, endpoint_url=access.endpoint, config=config)
        client.meta.events.register("before-send", self._ask_again)
        return client

    def _ask_again(self, **_: Any) -> None:
        if not self._under_way.still_ours():
            raise NotOurs("lease_lost")


def _failed(error: Exception) -> Mapping[str, Any]:
    if isinstance(error, NotOurs):
        raise error
    names = [each.__name__ for each in type(error).__mro__]
    if _NOT_SENT.intersection(names):
        raise NotSent(names[0]) from None
    if _REFUSED_HERE.intersection(names):
        return {"Error": {"Code": names[0], "Message": ""}}  # boto3's own text may quote what it was given
    raise AnswerLost(names[0]) from None
