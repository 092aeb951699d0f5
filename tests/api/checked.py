"""A client that compares each answer with the shape that the specification gives it."""

from __future__ import annotations

import itertools
import re
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

import jsonschema

from tests.api.operations import BY_ID, SCHEMAS
from tests.rooms.house import House, Person

_ERROR = {
    "type": "object",
    "properties": {"errcode": {"type": "string"}, "error": {"type": "string"}},
    "required": ["errcode", "error"],
}


@lru_cache(1000)
def shape(operation_id: str, status: int) -> jsonschema.Draft202012Validator | None:
    """What an answer must look like; None: it is no JSON."""
    answers = SCHEMAS["answers"][operation_id]
    if str(status) in answers:
        schema = answers[str(status)]
        if schema is None and status < 400:
            return None
    else:
        assert status >= 400, f"{operation_id}: {status} is not specified"
        schema = None
    whole = {**(schema or _ERROR), "$defs": SCHEMAS["$defs"]}
    return jsonschema.Draft202012Validator(whole)


class Checked:
    """Calls by operation id. `driven` are those that were granted at least once."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.driven: set[str] = set()
        self._txns = itertools.count(1)

    async def do(
        self,
        who: Person | None,
        operation_id: str,
        body: Any = None,
        *,
        status: int = 200,
        query: dict[str, Any] | None = None,
        **params: str,
    ) -> Any:
        """One call; its JSON. `txnId` is given by us."""
        operation = BY_ID[operation_id]
        params.setdefault("txnId", f"c{next(self._txns)}")
        path = re.sub(r"\{(\w+)\}", lambda m: quote(params[m.group(1)], safe=""), operation.path)
        if body is None and operation.method in ("POST", "PUT"):
            body = {}
        answer = await self.house.call(
            who.token if who else None,
            operation.method,
            path,
            body,
            urlencode(query or {}, doseq=True),
            "image/png" if isinstance(body, bytes) else "application/json",
        )
        assert answer.status == status, (operation_id, answer)
        wanted = shape(operation_id, status)
        if wanted is not None:
            errors = sorted(wanted.iter_errors(answer.json), key=str)
            told = [f"{e.json_path}: {e.message[:300]}" for e in errors]
            assert not told, (operation_id, told, answer)
        if status == 200:
            self.driven.add(operation_id)
        return answer.json if wanted is not None else answer.body
