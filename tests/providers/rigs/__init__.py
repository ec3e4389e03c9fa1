"""One rig per provider, for the contract suite."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from tests.providers.contract import Rig

RIGS: Mapping[str, Callable[[], AbstractAsyncContextManager[Rig]]] = {}
