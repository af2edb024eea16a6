"""Servers with stub pipelines."""

from contextlib import ExitStack

import pytest
from starlette.testclient import TestClient

from latentsync.service.api import build_app
from latentsync.service.runner import Model
from latentsync.service.settings import Settings

from .stub import StubPipeline


@pytest.fixture
def stub():
    stub = StubPipeline()
    yield stub
    stub.gate.set()


@pytest.fixture
def client(tmp_path, stub):
    """Makes clients of servers in this process: client(**settings). Their data lie in the folder "data"."""
    with ExitStack() as stack:

        def make(**settings) -> TestClient:
            settings = Settings(**{"data": tmp_path / "data", "devices": ("cpu",), **settings})
            app = build_app(settings, lambda device: Model(stub))
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield make
