"""Proves who asks: passwords, second factors, and user-interactive authentication around them.

# CS #user-interactive-authentication-api
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kerwen.accounts import uia
from kerwen.accounts.actions.check_factor import CheckFactor, fresh_challenge
from kerwen.accounts.actions.renew_password import RenewPassword
from kerwen.accounts.actions.stretch import Stretcher
from kerwen.accounts.actions.vaults import password_slot
from kerwen.accounts.address import localpart_named
from kerwen.accounts.old_hash import OLD
from kerwen.accounts.password import PasswordKeys, StoredPassword
from kerwen.accounts.second_factor import NEEDED, Shown, split_password
from kerwen.accounts.store import accounts, factors, invitations
from kerwen.accounts.store.accounts import Account
from kerwen.accounts.uia import Deed, UiSession, UiSessions
from kerwen.base import ids, limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database

WRONG = "Wrong name or password"


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


@dataclass(frozen=True, slots=True)
class FirstFactor:
    """A right password. `second`: the account has a second factor, which was not shown yet."""

    account: Account
    keys: PasswordKeys
    second: bool


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
        second: CheckFactor,
        sessions: UiSessions | None = None,
        clock: Clock = now_ms,
        renew: RenewPassword | None = None,
    ) -> None:
        self._db = db
        self._domain = domain
        self._stretcher = stretcher
        self._renew = renew
        self.second = second
        self._sessions = sessions if sessions is not None else UiSessions()
        self._clock = clock

    async def password(self, localpart: str | None, password: str) -> tuple[Account, PasswordKeys]:
        """The account of a name and password, where the password is all that it asks for.

        As `first_factor`; `Refused(SECOND_FACTOR_NEEDED)` where it asks for more.
        """
        first = await self.first_factor(localpart, password)
        if first.second:
            raise Refused(Reason.SECOND_FACTOR_NEEDED, NEEDED)
        return first.account, first.keys

    async def password_and_code(
        self, localpart: str | None, text: str
    ) -> tuple[Account, PasswordKeys]:
        """As `password`; a second factor's code may stand behind the password, after a space.

        `Refused`: also WRONG_CODE, LIMIT_EXCEEDED. A wrong text that ends so costs two runs, for
        nobody as for somebody.
        """
        # QUIRK: the specification knows no code here; clients have one field for both
        try:
            return await self.password(localpart, text)
        except Refused as refusal:
            parts = split_password(text)
            if refusal.reason is not Reason.WRONG_PASSWORD or parts is None:
                raise
        first = await self.first_factor(localpart, parts[0])
        if not first.second:  # it asks for no code: then this is a wrong password
            raise Refused(Reason.WRONG_PASSWORD, WRONG)
        opens = password_slot(first.keys.slot)
        await self.second.check(first.account.account_no, opens, Shown(parts[1]))
        return first.account, first.keys

    async def first_factor(self, localpart: str | None, password: str) -> FirstFactor:
        """The account of a name and password, for those who ask for the second factor next.

        `Refused(WRONG_PASSWORD)`, which costs as much for nobody as for somebody; ACCOUNT_LOCKED.
        """
        account = kept = None
        second = False
        if localpart is not None:
            async with self._db.read() as snap:
                account = await accounts.by_localpart(snap, localpart)
                if account is not None and account.active:
                    kept = await accounts.password(snap, account.account_no)
                    second = await factors.stands(snap, account.account_no)
        if account is not None and kept is not None and kept.cost == OLD:
            keys = await self._renewed(account.account_no, password, kept)
        else:
            keys = await self._stretcher.check(password, kept)
        if account is None or keys is None:
            raise Refused(Reason.WRONG_PASSWORD, WRONG)
        check_may_enter(account)
        if self._renew is not None and kept is not None and kept.cost != OLD:
            await self._renew.make_vault(account, keys, kept)
        return FirstFactor(account, keys, second)

    async def _renewed(
        self, account_no: int, password: str, kept: StoredPassword
    ) -> PasswordKeys | None:
        """The first log-in after an import (docs/import.md)."""
        if self._renew is None or len(password) > limits.PASSWORD_MAX:
            return None
        return await self._renew.check(account_no, password, kept)

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
            return Challenge((await self._begin(deed, account_no, now)).challenge())
        session_id, stage = _text(auth, "session"), _text(auth, "type")
        if session_id is None:
            session = await self._begin(deed, account_no, now)
        else:
            found = self._sessions.find(session_id, deed, account_no, now)
            if found is None:
                session = await self._begin(deed, account_no, now)
                text = "This authentication session is unknown or has ended"
                return Challenge(session.challenge("M_UNKNOWN", text))
            session = found
        if stage is None or stage in session.completed:
            return self._so_far(session)
        try:
            first = await self._stage(session, stage, account_no, auth)
        except _Failed as failure:
            return Challenge(session.challenge(failure.errcode, failure.text))
        if first is not None and not first.second:
            # a password alone is a flow of its own, and is never remembered
            return Proof(first.account.account_no, session.session_id, first.keys)
        if first is not None:
            await self._ask_second(session, first)
        session.completed.add(stage)
        return self._so_far(session)

    async def by_page(self, session_id: str, shown: Shown) -> None:
        """The second factor, shown on the page for clients that do not know its stage.

        `Refused`: NOT_FOUND (no such session, or not at this stage), WRONG_CODE, LIMIT_EXCEEDED.
        """
        session = self.at_second(session_id)
        assert session.keys is not None
        await self.second.check(session.proved_no, password_slot(session.keys.slot), shown)
        session.completed.add(uia.SECOND_FACTOR)

    def at_second(self, session_id: str) -> UiSession:
        """The session that waits for a second factor; `Refused(NOT_FOUND)`."""
        session = self._sessions.by_id(session_id, self._clock())
        if session is None or session.keys is None or not session.second:
            raise Refused(Reason.NOT_FOUND, "The password comes first, or it took too long")
        return session

    def _so_far(self, session: UiSession) -> Proof | Challenge:
        if not session.proved:
            return Challenge(session.challenge())
        proved = session.proved_no or session.account_no
        return Proof(proved, session.session_id, session.keys, session.facts.get("invitation"))

    def done(self, proof: Proof) -> None:
        """The deed is done; its proof is used up."""
        self._sessions.end(proof.session_id)

    async def _begin(self, deed: Deed, account_no: int, now: int) -> UiSession:
        session = self._sessions.begin(ids.secret(), deed, account_no, now)
        if account_no and deed.knows(uia.PASSWORD):
            session.second = await self.second.needed(account_no)
        return session

    async def _ask_second(self, session: UiSession, first: FirstFactor) -> None:
        session.second = True
        session.keys, session.proved_no = first.keys, first.account.account_no
        session.passkey_challenge = fresh_challenge()
        session.asks = await self.second.asks(session.proved_no, session.passkey_challenge)

    async def _stage(
        self, session: UiSession, stage: str, account_no: int, auth: Mapping[str, Any]
    ) -> FirstFactor | None:
        if session.second and stage == uia.SECOND_FACTOR:
            await self._second_stage(session, auth)
            return None
        if not session.deed.knows(stage):
            raise _Failed("This authentication type is not offered here", "M_UNRECOGNIZED")
        if stage == uia.PASSWORD:
            return await self._password_stage(account_no, auth)
        if stage == uia.REGISTRATION_TOKEN:
            await self._token_stage(session, auth)
        return None

    async def _second_stage(self, session: UiSession, auth: Mapping[str, Any]) -> None:
        """`code`, or a passkey's answer as `credential`."""
        if session.keys is None:
            raise _Failed("The password comes first")
        code, credential = _text(auth, "code"), auth.get("credential")
        if code is None and not isinstance(credential, dict):
            raise _Failed("The code is missing", "M_MISSING_PARAM")
        shown = Shown(
            code or "",
            credential if isinstance(credential, dict) else None,
            session.passkey_challenge,
        )
        try:
            await self.second.check(session.proved_no, password_slot(session.keys.slot), shown)
        except Refused as refusal:
            if refusal.reason is not Reason.WRONG_CODE:
                raise
            raise _Failed(refusal.public_text) from None

    async def _password_stage(self, account_no: int, auth: Mapping[str, Any]) -> FirstFactor:
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
            return await self.first_factor(localpart, password)
        except Refused as refusal:
            if refusal.reason is not Reason.WRONG_PASSWORD:
                raise
            raise _Failed(refusal.public_text) from None

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
