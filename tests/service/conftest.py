"""Servers with stub pipelines, and a receiver of their webhooks."""

from contextlib import ExitStack
from threading import Thread

import pytest
from starlette.testclient import TestClient

from latentsync.service import service
from latentsync.service.api import build_app
from latentsync.service.inspection import check_inputs
from latentsync.service.runner import Model
from latentsync.service.settings import Settings

from .receiver import Receiver
from .stub import StubPipeline


@pytest.fixture(autouse=True, scope="package")
def inspected_here():
    """Uploads are looked at in this process, which is quicker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "check_inputs_apart", check_inputs)
        patch.setattr(service, "prepare", lambda: None)
        yield


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
            app = build_app(settings, lambda device, name: Model(stub))
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield make


@pytest.fixture
def receiver():
    server = Receiver()
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
