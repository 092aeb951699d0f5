"""Proves who asks: passwords, and user-interactive authentication around them.

# CS #user-interactive-authentication-api
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kerwen.accounts import uia
from kerwen.accounts.actions.stretch import Stretcher
from kerwen.accounts.address import localpart_named
from kerwen.accounts.password import PasswordKeys
from kerwen.accounts.store import accounts, invitations
from kerwen.accounts.store.accounts import Account
from kerwen.accounts.uia import Deed, UiSession, UiSessions
from kerwen.base import ids
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database


@dataclass(frozen=True, slots=True)
class Proof:
    """All stages are done. `keys` are the password's, where the last stage was one."""

    account_no: int
    session_id: str
    keys: PasswordKeys | None = None
    invitation: str | None = None


@dataclass(frozen=True, slots=True)
class Challenge:
    """More is asked for: the body of the 401 answer."""

    body: dict[str, Any]


class _Failed(Exception):
    def __init__(self, text: str, errcode: str = "M_FORBIDDEN") -> None:
        super().__init__(text)
        self.text = text
        self.errcode = errcode


class Prove:
    """Checks passwords and runs the stages of user-interactive authentication."""

    def __init__(
        self,
        db: Database,
        domain: str,
        stretcher: Stretcher,
        sessions: UiSessions | None = None,
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._domain = domain
        self._stretcher = stretcher
        self._sessions = sessions if sessions is not None else UiSessions()
        self._clock = clock

    async def password(self, localpart: str | None, password: str) -> tuple[Account, PasswordKeys]:
        """The account of a name and password.

        `Refused(WRONG_PASSWORD)`, which costs as much for nobody as for somebody; ACCOUNT_LOCKED.
        """
        account = kept = None
        if localpart is not None:
            async with self._db.read() as snap:
                account = await accounts.by_localpart(snap, localpart)
                if account is not None and account.active:
                    kept = await accounts.password(snap, account.account_no)
        keys = await self._stretcher.check(password, kept)
        if account is None or keys is None:
            raise Refused(Reason.WRONG_PASSWORD, "Wrong name or password")
        check_may_enter(account)
        return account, keys

    async def owner(
        self, name: str, account_no: int, auth: Mapping[str, Any] | None
    ) -> Proof | Challenge:
        """Proves that the account's owner asks for a deed. `account_no` 0: whoever `auth` names."""
        return await self.run(uia.owner_deed(name), account_no, auth)

    async def run(
        self, deed: Deed, account_no: int, auth: Mapping[str, Any] | None
    ) -> Proof | Challenge:
        """Takes one step. A `Proof` is good for one deed: end it with `done`."""
        now = self._clock()
        if auth is None:
            return Challenge(self._begin(deed, account_no, now).challenge())
        session_id, stage = _text(auth, "session"), _text(auth, "type")
        if session_id is None:
            session = self._begin(deed, account_no, now)
        else:
            found = self._sessions.find(session_id, deed, account_no, now)
            if found is None:
                session = self._begin(deed, account_no, now)
                text = "This authentication session is unknown or has ended"
                return Challenge(session.challenge("M_UNKNOWN", text))
            session = found
        if stage is None or stage in session.completed:
            return self._so_far(session, account_no)
        try:
            proved, keys = await self._stage(session, stage, account_no, auth)
        except _Failed as failure:
            return Challenge(session.challenge(failure.errcode, failure.text))
        if keys is not None:  # a password is a flow of its own, and is never remembered
            return Proof(proved, session.session_id, keys)
        session.completed.add(stage)
        return self._so_far(session, proved)

    def _so_far(self, session: UiSession, proved: int) -> Proof | Challenge:
        if not session.deed.proved_by(session.completed):
            return Challenge(session.challenge())
        return Proof(proved, session.session_id, None, session.facts.get("invitation"))

    def done(self, proof: Proof) -> None:
        """The deed is done; its proof is used up."""
        self._sessions.end(proof.session_id)

    def _begin(self, deed: Deed, account_no: int, now: int) -> UiSession:
        return self._sessions.begin(ids.secret(), deed, account_no, now)

    async def _stage(
        self, session: UiSession, stage: str, account_no: int, auth: Mapping[str, Any]
    ) -> tuple[int, PasswordKeys | None]:
        if not session.deed.knows(stage):
            raise _Failed("This authentication type is not offered here", "M_UNRECOGNIZED")
        if stage == uia.PASSWORD:
            return await self._password_stage(account_no, auth)
        if stage == uia.REGISTRATION_TOKEN:
            await self._token_stage(session, auth)
        return account_no, None

    async def _password_stage(
        self, account_no: int, auth: Mapping[str, Any]
    ) -> tuple[int, PasswordKeys]:
        """CS #password-based."""
        password = _text(auth, "password")
        if password is None:
            raise _Failed("The password is missing", "M_MISSING_PARAM")
        named = named_by(auth, self._domain)
        localpart = named if named != "" else None
        if account_no:
            async with self._db.read() as snap:
                account = await accounts.by_no(snap, account_no)
            own = account.localpart if account else None
            if named != "" and named != own:
                raise Refused(Reason.FORBIDDEN, "These are not the details of this account")
            localpart = own
        try:
            found, keys = await self.password(localpart, password)
        except Refused as refusal:
            if refusal.reason is not Reason.WRONG_PASSWORD:
                raise
            raise _Failed(refusal.public_text) from None
        return found.account_no, keys

    async def _token_stage(self, session: UiSession, auth: Mapping[str, Any]) -> None:
        """CS #token-authenticated-registration."""
        token = _text(auth, "token")
        if token is None:
            raise _Failed("The registration token is missing", "M_MISSING_PARAM")
        async with self._db.read() as snap:
            if not await invitations.token_valid(snap, token, self._clock()):
                raise _Failed("This registration token is not valid")
        session.facts["invitation"] = token


def check_may_enter(account: Account) -> None:
    """A locked account does nothing and gets no new sessions (CS #account-locking)."""
    if account.locked:
        raise Refused(Reason.ACCOUNT_LOCKED, "This account has been locked")


def named_by(auth: Mapping[str, Any], domain: str) -> str | None:
    """The local part that a log-in names (CS #identifier-types); "" where it names nobody.

    None: somebody who cannot be one of us. `Refused` where the identifier is of a kind that this
    server does not take.
    """
    identifier = auth.get("identifier")
    if identifier is None:
        user = _text(auth, "user")  # as clients wrote it before r0.4
        return "" if user is None else localpart_named(user, domain)
    if not isinstance(identifier, dict):
        raise Refused(Reason.BAD_JSON, "identifier must be an object")
    kind = identifier.get("type")
    if kind != "m.id.user":
        raise Refused(Reason.UNSUPPORTED_LOGIN, "Only m.id.user is supported")
    user = _text(identifier, "user")
    if user is None:
        raise Refused(Reason.MISSING_PARAM, "identifier has no user")
    return localpart_named(user, domain)


def _text(source: Mapping[str, Any], name: str) -> str | None:
    value = source.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Refused(Reason.BAD_JSON, f"{name} must be a string")
    if "\0" in value:
        raise Refused(Reason.INVALID_PARAM, f"{name} holds a NUL")
    return value
