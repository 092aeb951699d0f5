"""What the specification says of the client-server API (written by `tools/spec_operations.py`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

_HERE = Path(__file__).parent


class Operation(NamedTuple):
    """One operation of Matrix v1.19."""

    id: str
    method: str
    path: str
    file: str
    secured: bool


OPERATIONS = [Operation(**o) for o in json.loads((_HERE / "operations.json").read_text())]
BY_ID = {o.id: o for o in OPERATIONS}
SCHEMAS: dict[str, Any] = json.loads((_HERE / "schemas.json").read_text())

# The house has no identity server, no single sign-on, no policy server;
# and this one has no application service. It says so in the way that is specified.
_NO_IDENTITY_SERVER = (403, "M_THREEPID_DENIED")
REFUSED: dict[str, tuple[int, str]] = {
    "post3PIDs": _NO_IDENTITY_SERVER,
    "add3PID": _NO_IDENTITY_SERVER,
    "bind3PID": _NO_IDENTITY_SERVER,
    "inviteBy3PID": _NO_IDENTITY_SERVER,
    "requestTokenTo3PIDEmail": _NO_IDENTITY_SERVER,
    "requestTokenTo3PIDMSISDN": _NO_IDENTITY_SERVER,
    "requestTokenToRegisterEmail": _NO_IDENTITY_SERVER,
    "requestTokenToRegisterMSISDN": _NO_IDENTITY_SERVER,
    "requestTokenToResetPasswordEmail": _NO_IDENTITY_SERVER,
    "requestTokenToResetPasswordMSISDN": _NO_IDENTITY_SERVER,
    # log-in is by password and token; the redirect is for houses that offer m.login.sso
    "redirectToSSO": (404, "M_UNRECOGNIZED"),
    "redirectToIdP": (404, "M_UNRECOGNIZED"),
    # no bridge is registered, so there is no network to look into
    "getProtocolMetadata": (404, "M_NOT_FOUND"),
    "queryLocationByProtocol": (404, "M_NOT_FOUND"),
    "queryUserByProtocol": (404, "M_NOT_FOUND"),
    "queryLocationByAlias": (404, "M_NOT_FOUND"),
    "queryUserByID": (404, "M_NOT_FOUND"),
    # only an application service's own token may call these
    "pingAppservice": (403, "M_FORBIDDEN"),
    "updateAppserviceRoomDirectoryVisibility": (403, "M_FORBIDDEN"),
    "getWellknownPolicy": (404, "M_NOT_FOUND"),
}

# To be taken out as they are built; empty when the API is whole.
UNBUILT: frozenset[str] = frozenset()
