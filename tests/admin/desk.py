"""An administrator at work: calls the admin API as a program would, and checks each answer with
the description that the server gives of itself."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlencode

import jsonschema

from kerwen.api.admin.table import BASE
from tests.rooms.house import Answer, House, Person


class Desk:
    """`driven`: (method, path of the table) of the deeds that were granted."""

    def __init__(self, house: House, person: Person) -> None:
        self.house = house
        self.person = person
        self.page: dict[str, Any] = {}
        self.driven: set[tuple[str, str]] = set()
        self.answers: list[bytes] = []

    async def ask(
        self, method: str, path: str, body: Any = None, query: Any = None, **params: str
    ) -> Answer:
        """One request; `path` below the base, as the table writes it."""
        filled = re.sub(r"\{(\w+)\}", lambda m: quote(params[m.group(1)], safe=""), path)
        if body is None and method != "GET":
            body = {}
        answer = await self.house.call(
            self.person.token, method, f"{BASE}/{filled}", body, urlencode(query or {})
        )
        self.answers.append(answer.body)
        return answer

    async def must(
        self, method: str, path: str, body: Any = None, query: Any = None, **params: str
    ) -> Any:
        """One request that is granted; its JSON, which has the shape that is described."""
        if not self.page:
            self.page = (await self.house.call(None, "GET", f"{BASE}/openapi.json")).json
        operation = self.page["paths"][f"{BASE}/{path}"][method.lower()]
        if body is not None:
            self._check(operation["requestBody"]["content"]["application/json"]["schema"], body)
        answer = await self.ask(method, path, body, query, **params)
        assert answer.status == 200, (method, path, params, answer)
        self._check(
            operation["responses"]["200"]["content"]["application/json"]["schema"], answer.json
        )
        self.driven.add((method, f"{BASE}/{path}"))
        return answer.json

    async def refused(
        self, status: int, errcode: str, method: str, path: str, *more: Any, **params: str
    ) -> None:
        """One request that is refused in just this way."""
        answer = await self.ask(method, path, *more, **params)
        assert (answer.status, answer.json.get("errcode")) == (status, errcode), answer

    async def confirm(self) -> None:
        """Shows the password again."""
        asked = await self.ask("POST", "confirm")
        assert asked.status == 401
        auth = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": self.person.id},
            "password": "a-password",
            "session": asked.json["session"],
        }
        await self.must("POST", "confirm", {"auth": auth})

    def _check(self, schema: Any, value: Any) -> None:
        whole = {**schema, "components": self.page["components"]}
        errors = list(jsonschema.Draft202012Validator(whole).iter_errors(value))
        assert not errors, (errors[0].json_path, errors[0].message, value)


async def desk_of(house: House, name: str = "admin") -> Desk:
    """A new administrator."""
    person = await house.person(name)
    await house.messenger.accounts.moderate.set_admin(person.id, True)
    return Desk(house, person)


async def upload(who: Person, data: bytes = b"some bytes", name: str = "a.bin") -> str:
    """Uploads a file; its mxc URI."""
    answer = await who.house.call(
        who.token,
        "POST",
        "/_matrix/media/v3/upload",
        data,
        urlencode({"filename": name}),
        "application/octet-stream",
    )
    assert answer.status == 200, answer
    return str(answer.json["content_uri"])


async def download(who: Person, uri: str) -> Answer:
    """Gets a file."""
    path = "/_matrix/client/v1/media/download/" + uri.removeprefix("mxc://")
    return await who.house.call(who.token, "GET", path)
