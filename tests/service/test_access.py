"""What opens the API."""

import base64

import pytest

from .stub import form

URL = "/v2/generate"
JOB = f"{URL}/{'0' * 32}"
LOGIN = ("ann", "pass:w\xf6rd")


def basic(text: str | bytes, scheme: str = "Basic") -> dict[str, bytes]:
    text = text if isinstance(text, bytes) else text.encode()
    return {"authorization": scheme.encode() + b" " + base64.b64encode(text)}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Basic"},
        {"authorization": "Basic %%%"},
        {"authorization": b"Basic \xff\xfe"},
        basic("ann:wrong"),
        basic("ann:"),
        basic(":" + LOGIN[1]),
        basic("bob:" + LOGIN[1]),
        basic(":".join(LOGIN), "Bearer"),
        basic(":".join(LOGIN).encode("latin-1")),
        {"x-api-key": ""},
        {"x-api-key": "None"},
        {"x-api-key": LOGIN[1].encode()},
    ],
)
def test_a_login_closes_the_api_too(client, tmp_path, headers):
    client = client(auth=LOGIN)
    for method, url in (("POST", URL), ("GET", JOB), ("DELETE", JOB), ("GET", JOB + "/result")):
        answer = client.request(method, url, headers=headers)
        assert answer.status_code == 401, (method, url)
        assert answer.json() == {"detail": "expected the server's user and password by HTTP Basic"}
        assert answer.headers["www-authenticate"].startswith("Basic ")
    assert client.get("/v2/health", headers=headers).status_code == 200


@pytest.mark.parametrize("scheme", ["Basic", "basic"])
def test_user_and_password_open_it(client, tmp_path, scheme):
    assert client(auth=LOGIN).post(URL, **form(tmp_path), headers=basic(":".join(LOGIN), scheme)).status_code == 201


def test_either_opens_it_where_both_are_set(client):
    client = client(auth=LOGIN, api_key="key")
    assert client.get(JOB, headers=basic(":".join(LOGIN))).status_code == 404
    assert client.get(JOB, headers={"x-api-key": "key"}).status_code == 404
    assert client.get(JOB, headers={"x-api-key": "key", **basic("ann:wrong")}).status_code == 404
    answer = client.get(JOB, headers={"x-api-key": "wrong", **basic("ann:wrong")})
    assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Basic ")
    assert "x-api-key or the server's user and password" in answer.json()["detail"]


def test_browsers_ask_for_no_password_where_only_a_key_opens(client):
    answer = client(api_key="key").get(JOB, headers=basic(":".join(LOGIN)))
    assert answer.status_code == 401 and "www-authenticate" not in answer.headers


def test_any_login_passes_where_none_is_wanted(client):
    assert client().get(JOB, headers={"authorization": "Basic %%%"}).status_code == 404


def test_the_document_has_both_ways(client):
    document = client().get("/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    found = {name: (scheme["type"], scheme.get("scheme", scheme.get("name"))) for name, scheme in schemes.items()}
    assert found == {"APIKeyHeader": ("apiKey", "x-api-key"), "HTTPBasic": ("http", "basic")}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            ways = [] if path == "/v2/health" else [{"APIKeyHeader": []}, {"HTTPBasic": []}]  # either of them
            assert operation.get("security", []) == ways
