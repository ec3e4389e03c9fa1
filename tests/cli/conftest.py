"""`service`: one running service for all tests of a file."""

from collections.abc import Iterator

import pytest

from tests.service import RunningService, serving


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with serving(tmp_path_factory.mktemp("service")) as running:
        yield running
