"""Every operation of the specification has a route, and every route a reason."""

from __future__ import annotations

import re

import pytest

from kerwen.api.http import Access, Route
from kerwen.base.errors import Refused
from tests.api.operations import BY_ID, OPERATIONS, REFUSED, UNBUILT, Operation
from tests.rooms.house import House

# Routes of our own, and of proposals that clients use already
_EXTRA = (
    "/_kerwen/",
    "/.well-known/matrix/server",  # of the server-server API
    "/.well-known/oauth-authorization-server",  # RFC 8414
    "/_matrix/push/v1/notify",  # of the push gateway API
    "/_matrix/client/unstable/",
    "/_matrix/media/r0/",
    "/_matrix/client/v3/auth/",  # CS #fallback: in the prose, not in the data
    "/_matrix/client/v1/rtc/transports",  # MSC4143
    "/_matrix/client/v1/delayed_events",  # MSC4140
    "/_matrix/client/v4/sync",  # MSC4186
)
# The same operation under another spelling: no state key, no slash at the end
_SPELLINGS = {
    "/_matrix/client/v3/rooms/{}/state/{}",
    "/_matrix/client/v3/pushrules",
    "/_matrix/client/v3/pushrules/global",
    "/_matrix/client/v3/rooms/{}/delayed_event/{}/{}",  # MSC4140
}
_SOMEBODY = {"USER", "ADMIN", "LOCKED"}


def bare(path: str) -> str:
    """A path whose parts have no names."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def route_of(house: House, operation: Operation) -> Route | None:
    """The route that answers an operation's example path."""
    path = re.sub(r"\{(\w+)\}", r"\1", operation.path)
    try:
        return house.router.find(operation.method, path.encode())[0]
    except Refused:
        return None


def test_the_specification_has_166_operations() -> None:
    assert len(OPERATIONS) == len(BY_ID) == 166


def test_every_operation_has_a_route(house: House) -> None:
    missing = {o.id for o in OPERATIONS if route_of(house, o) is None}
    assert missing - UNBUILT == set()
    assert UNBUILT - missing == set(), "built meanwhile: take it out of UNBUILT"


def test_routes_stand_under_the_version_that_is_specified(house: House) -> None:
    """v1 and v3 are no spellings of each other."""
    for operation in OPERATIONS:
        route = route_of(house, operation)
        if route is None:
            continue
        assert bare(route.path) == bare(operation.path), operation
        other = operation.path.replace("/v3/", "/v1/", 1)
        if other == operation.path:
            other = operation.path.replace("/v1/", "/v3/", 1)
        if bare(other) in {bare(o.path) for o in OPERATIONS}:
            continue
        known = {bare(r.path) for r in house.router.routes}
        assert bare(other) not in known, f"{other} is in no specification"


def test_every_route_is_specified_or_ours(house: House) -> None:
    specified = {(o.method, bare(o.path)) for o in OPERATIONS}
    strange = {
        (route.method, route.path)
        for route in house.router.routes
        if (route.method, bare(route.path)) not in specified
        and bare(route.path) not in _SPELLINGS
        and not route.path.startswith(_EXTRA)
    }
    assert strange == set()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.id)
def test_a_token_is_asked_for_where_it_is_specified(house: House, operation: Operation) -> None:
    route = route_of(house, operation)
    if route is None:
        return
    assert (route.access.name in _SOMEBODY) == operation.secured
    assert route.access is not Access.ADMIN or "/admin/" in route.path


def test_every_route_names_its_section(house: House) -> None:
    wrong = {
        (r.method, r.path, r.spec)
        for r in house.router.routes
        if not re.fullmatch(r"(CS|SS|AS) #[a-z0-9-]+|MSC\d+|docs/[a-z_/]+\.md", r.spec)
    }
    assert wrong == set()


def test_old_clients_find_r0(house: House) -> None:
    """Every v3 path answers under r0 too (CS r0.6)."""
    for operation in OPERATIONS:
        if not operation.path.startswith("/_matrix/client/v3/") or operation.id in UNBUILT:
            continue
        old = operation._replace(path=operation.path.replace("/v3/", "/r0/", 1))
        assert route_of(house, old) is route_of(house, operation)


@pytest.mark.parametrize("operation_id", sorted(REFUSED))
async def test_what_we_do_not_have_is_refused_as_specified(house: House, operation_id: str) -> None:
    operation, (status, errcode) = BY_ID[operation_id], REFUSED[operation_id]
    ayna = await house.person("ayna")
    path = re.sub(r"\{(\w+)\}", r"\1", operation.path)
    body = {"medium": "email", "address": "a@b.test", "id_server": "c.test", "visibility": "public"}
    answer = await house.call(
        ayna.token,
        operation.method,
        path,
        None if operation.method == "GET" else body,
        "redirectUrl=https%3A%2F%2Fa.test%2F" if "redirect" in path else "",
    )
    assert (answer.status, answer.errcode) == (status, errcode), answer


async def test_single_sign_on_asks_where_to_go(house: House) -> None:
    answer = await house.call(None, "GET", "/_matrix/client/v3/login/sso/redirect")
    assert (answer.status, answer.errcode) == (400, "M_MISSING_PARAM")
