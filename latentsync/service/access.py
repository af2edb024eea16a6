"""Who may use the API: whoever has the server's key, or its user's password."""

import hmac
from base64 import b64encode
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends
from fastapi.security import APIKeyHeader
from fastapi.security.http import HTTPAuthorizationCredentials, HTTPBase

from .errors import Refusal
from .settings import Settings

_WHERE = "Where the operator has set one."
_key = APIKeyHeader(name="x-api-key", auto_error=False, description=_WHERE)
#: Not HTTPBasic, which refuses what it cannot read also where no password is wanted, and any that is not ASCII.
_login = HTTPBase(scheme="basic", scheme_name="HTTPBasic", auto_error=False, description=f"User and password. {_WHERE}")


def access(settings: Settings) -> Callable[..., None]:
    """A dependency that raises Refusal, 401, for a request with neither of the two; all pass where neither is set."""
    key_wanted = None if settings.api_key is None else settings.api_key.encode()
    login_wanted = None if settings.auth is None else b64encode(":".join(settings.auth).encode())
    ways = []
    if key_wanted is not None:
        ways.append("the server's key in the header x-api-key")
    if login_wanted is not None:
        ways.append("the server's user and password by HTTP Basic")
    challenge = {} if login_wanted is None else {"www-authenticate": 'Basic realm="LatentSync", charset="UTF-8"'}

    async def check(
        key: Annotated[str | None, Depends(_key)],
        login: Annotated[HTTPAuthorizationCredentials | None, Depends(_login)],
    ) -> None:
        given = login.credentials if login and login.scheme.lower() == "basic" else None
        # Both, so that the time does not tell which was right.
        if ways and not (_same(key, key_wanted) | _same(given, login_wanted)):
            raise Refusal(401, f"expected {' or '.join(ways)}", challenge)

    return check


def _same(given: str | None, wanted: bytes | None) -> bool:
    """In a time that does not depend on where they differ."""
    return wanted is not None and hmac.compare_digest((given or "").encode(), wanted)
