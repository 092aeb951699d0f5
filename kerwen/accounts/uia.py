"""User-interactive authentication: which stages a deed asks for, and how far a client has come.

# CS #user-interactive-authentication-api. Pure: time and secrets come in as arguments.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from kerwen.accounts.password import PasswordKeys

PASSWORD = "m.login.password"
DUMMY = "m.login.dummy"
REGISTRATION_TOKEN = "m.login.registration_token"
SECOND_FACTOR = "org.kerwen.second_factor"
"""Comes after the password of an account that has a second factor (docs/second_factor.md)."""

SESSIONS_MAX = 20_000
SESSION_LIFE_MS = 15 * 60_000
SESSION_ID_MAX = 100

Flow = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deed:
    """What is to be proved: the deed's name, the flows that prove it."""

    name: str
    flows: tuple[Flow, ...]

    def knows(self, stage: str) -> bool:
        """Whether some flow has the stage."""
        return any(stage in flow for flow in self.flows)


OPEN_REGISTRATION = Deed("register", ((DUMMY,),))
TOKEN_REGISTRATION = Deed("register", ((REGISTRATION_TOKEN,),))
OWNER_FLOWS: tuple[Flow, ...] = ((PASSWORD,),)


def owner_deed(name: str) -> Deed:
    """A deed that only the account's owner may do, proved by the password."""
    return Deed(name, OWNER_FLOWS)


@dataclass(slots=True)
class UiSession:
    """How far a client has come. `facts` holds what a stage learnt, for the deed itself.

    `second`: the account has a second factor. Then, once the password was right, `proved_no` is
    the account, `keys` are the password's, and `asks` says what may be shown.
    """

    session_id: str
    deed: Deed
    account_no: int
    expires_ms: int
    completed: set[str] = field(default_factory=set)
    facts: dict[str, str] = field(default_factory=dict)
    second: bool = False
    proved_no: int = 0
    keys: PasswordKeys | None = None
    passkey_challenge: bytes = b""
    asks: dict[str, Any] | None = None

    @property
    def flows(self) -> tuple[Flow, ...]:
        """The flows that prove the deed, for this account."""
        if not self.second:
            return self.deed.flows
        return tuple(
            (*flow, SECOND_FACTOR) if PASSWORD in flow else flow for flow in self.deed.flows
        )

    @property
    def proved(self) -> bool:
        """Whether all stages of some flow are completed."""
        return any(self.completed.issuperset(flow) for flow in self.flows)

    def challenge(self, errcode: str = "", error: str = "") -> dict[str, Any]:
        """The body of the 401 answer."""
        body: dict[str, Any] = {
            "session": self.session_id,
            "flows": [{"stages": list(flow)} for flow in self.flows],
            "params": {} if self.asks is None else {SECOND_FACTOR: self.asks},
        }
        if self.completed:
            body["completed"] = sorted(self.completed)
        if errcode:
            body["errcode"] = errcode
            body["error"] = error
        return body


class UiSessions:
    """The open sessions of this process: bounded, the oldest make room."""

    def __init__(self, most: int = SESSIONS_MAX) -> None:
        self._most = most
        self._open: OrderedDict[str, UiSession] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, session_id: str, deed: Deed, account_no: int, now_ms: int) -> UiSession:
        """A new session; the caller draws its id, which nobody can guess."""
        while self._open and (
            len(self._open) >= self._most or next(iter(self._open.values())).expires_ms <= now_ms
        ):
            self._open.popitem(last=False)
        session = UiSession(session_id, deed, account_no, now_ms + SESSION_LIFE_MS)
        self._open[session_id] = session
        return session

    def find(self, session_id: str, deed: Deed, account_no: int, now_ms: int) -> UiSession | None:
        """The session, if it lives and was begun for the same deed by the same account."""
        session = self.by_id(session_id, now_ms)
        if session is None:
            return None
        if session.deed != deed or session.account_no != account_no:
            return None
        return session

    def by_id(self, session_id: str, now_ms: int) -> UiSession | None:
        """A session that lives, for a page that knows its id alone."""
        session = self._open.get(session_id)
        return session if session is not None and session.expires_ms > now_ms else None

    def end(self, session_id: str) -> None:
        """The deed is done: its proof is used up."""
        self._open.pop(session_id, None)
