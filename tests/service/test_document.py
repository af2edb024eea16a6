"""The server does what its OpenAPI document says, whatever it is sent."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from latentsync.service.runner import Model
from latentsync.service.settings import Settings

from .stub import StubPipeline, form, serving, wait_for

OPERATIONS = [
    ("POST", "/v2/generate"),
    ("GET", "/v2/generate/{id}"),
    ("DELETE", "/v2/generate/{id}"),
    ("GET", "/v2/generate/{id}/result"),
    ("GET", "/v2/health"),
]
NEWS, DELETE, RESULT, HEALTH = OPERATIONS[1:]
REQUESTS = [
    (*operation, mode)
    for operation in OPERATIONS
    for mode in GenerationMode
    if (operation, mode) != (HEALTH, GenerationMode.NEGATIVE)  # it takes nothing that could be wrong
]
KEY = {"x-api-key": "key"}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    limits = Settings(tmp_path_factory.mktemp("data"), api_key="key")
    with serving(limits, lambda device, name: Model(StubPipeline())) as client:
        client.document = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
        yield client


def test_all_operations_are_tried(client):
    found = {(o.ok().method.upper(), o.ok().path) for o in client.document.get_all_operations()}
    assert found == set(OPERATIONS)


@pytest.mark.parametrize(("method", "path", "mode"), REQUESTS)
def test_any_request(client, method, path, mode):
    operation = client.document[path][method]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def check(case):
        # No schema can say which bytes are a video.
        case.call_and_validate(headers=KEY, excluded_checks=[positive_data_acceptance])

    check()


def test_answers_about_a_real_job_are_as_described(client, tmp_path):
    """As random requests have no id that exists."""
    client.headers.update(KEY)
    url = client.post("/v2/generate", **form(tmp_path)).json()["url"]
    id = url.rsplit("/", 1)[-1]
    wait_for(client, url, "completed")
    for method, path in (NEWS, RESULT, DELETE, DELETE):
        case = client.document[path][method].Case(path_parameters={"id": id})
        case.call_and_validate(headers=KEY)
