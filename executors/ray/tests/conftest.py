"""What stories share: one executor with its own Ray, one NATS, and a model server for each story."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from .harness import Client, Executor, nats_server
from .model_server import ModelServer

KEY = "sk-only-for-models"


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nats_server(tmp_path_factory.mktemp("nats")) as url:
        yield url


@pytest.fixture(scope="session")
def executor(tmp_path_factory: pytest.TempPathFactory, nats_url: str) -> Iterator[Executor]:
    """With a Ray of its own. Stories that break things start another."""
    folder: Path = tmp_path_factory.mktemp("executor")
    running = Executor.start(folder, METRICS_PORT="0", NATS_URL=nats_url, VLLM_API_KEY=KEY)
    try:
        yield running.await_ready()
        assert running.end() == 0
    finally:
        running.kill()


@pytest_asyncio.fixture
async def client(executor: Executor) -> AsyncIterator[Client]:
    async with Client(executor.address) as client:
        yield client


@pytest_asyncio.fixture
async def model() -> AsyncIterator[ModelServer]:
    server = ModelServer()
    await server.start()
    yield server
    await server.stop()
