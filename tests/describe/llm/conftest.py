"""A language model's server on loopback, and the table of its answers without any fault."""

from collections.abc import Iterator

import pyarrow as pa
import pytest

from tests.describe.llm.server import ModelServer
from tests.describe.llm.stage import DescribeStage


@pytest.fixture
def server() -> Iterator[ModelServer]:
    model = ModelServer()
    with model.running():
        yield model


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The table of a run without a fault."""
    model = ModelServer()
    with model.running():
        stage = DescribeStage(model, tmp_path_factory.mktemp("expected"))
        stage.ask()
        return stage.table()
