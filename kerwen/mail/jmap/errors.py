"""What JMAP says where something cannot be done: of a request, a method, an object."""

# RFC 8620 §3.6, §5.3

from __future__ import annotations

from typing import Any, Final

PREFIX: Final = "urn:ietf:params:jmap:error:"


class RequestError(Exception):
    """The whole request is refused: a problem document. # RFC 8620 §3.6.1"""

    def __init__(self, kind: str, detail: str, status: int = 400, *, limit: str = "") -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail
        self.status = status
        self.limit = limit

    def document(self, request_id: str | None = None) -> dict[str, Any]:
        """The problem as JSON. `request_id`: over WebSocket (RFC 8887 §4.3.4)."""
        told: dict[str, Any] = {"type": self.kind, "status": self.status, "detail": self.detail}
        if ":" not in self.kind:
            told["type"] = PREFIX + self.kind
        if self.limit:
            told["limit"] = self.limit
        if request_id is not None:
            told["requestId"] = request_id
        return told


class MethodError(Exception):
    """A method is answered with an error. # RFC 8620 §3.6.2"""

    def __init__(self, kind: str, description: str = "", **more: Any) -> None:
        super().__init__(kind, description)
        self.kind = kind
        self.description = description
        self.more = more

    def arguments(self) -> dict[str, Any]:
        """The arguments of the `error` response."""
        told: dict[str, Any] = {"type": self.kind, **self.more}
        if self.description:
            told["description"] = self.description
        return told


class SetError(Exception):
    """One object of a /set is refused. # RFC 8620 §5.3"""

    def __init__(self, kind: str, description: str = "", **more: Any) -> None:
        super().__init__(kind, description)
        self.kind = kind
        self.description = description
        self.more = more

    def told(self) -> dict[str, Any]:
        """The SetError as JSON."""
        found: dict[str, Any] = {"type": self.kind, **self.more}
        if self.description:
            found["description"] = self.description
        return found


def bad_properties(names: list[str], why: str = "") -> SetError:
    """Some properties cannot be what they are."""
    return SetError("invalidProperties", why, properties=names)


def bad_argument(name: str, why: str) -> MethodError:
    """An argument makes no sense."""
    return MethodError("invalidArguments", f"{name}: {why}")
