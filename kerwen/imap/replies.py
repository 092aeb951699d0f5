"""How each reason reads over IMAP: NO, or BAD, with a response code (RFC 9051 §7.1, RFC 5530)."""

from __future__ import annotations

from typing import Final

import msgspec

from kerwen.base.errors import Reason, Refused, Unavailable, Unready

R = Reason


class Ending(msgspec.Struct, frozen=True, gc=False):
    """How a command ended: what stands behind its tag."""

    text: str
    code: bytes = b""
    status: str = "OK"


CODES: Final[dict[Reason, bytes]] = {
    R.NOT_JSON: b"CANNOT",
    R.BAD_JSON: b"CANNOT",
    R.MISSING_PARAM: b"CLIENTBUG",
    R.INVALID_PARAM: b"CANNOT",
    R.TOO_LARGE: b"TOOBIG",
    R.UNRECOGNIZED: b"CANNOT",
    R.WRONG_METHOD: b"CANNOT",
    R.NOT_FOUND: b"NONEXISTENT",
    R.CONFLICT: b"INUSE",
    R.UNKNOWN_POSITION: b"CANNOT",
    R.MISSING_TOKEN: b"AUTHENTICATIONFAILED",
    R.UNKNOWN_TOKEN: b"AUTHENTICATIONFAILED",
    R.EXPIRED_TOKEN: b"EXPIRED",
    R.UNKNOWN_DEVICE: b"NOPERM",
    R.FORBIDDEN: b"NOPERM",
    R.WRONG_PASSWORD: b"AUTHENTICATIONFAILED",
    R.SECOND_FACTOR_NEEDED: b"ALERT",  # programs must show its text (RFC 9051 §7.1)
    R.WRONG_CODE: b"AUTHENTICATIONFAILED",
    R.LIMIT_EXCEEDED: b"LIMIT",
    R.ACCOUNT_LOCKED: b"CONTACTADMIN",
    R.ACCOUNT_SUSPENDED: b"CONTACTADMIN",
    R.ACCOUNT_DEACTIVATED: b"AUTHENTICATIONFAILED",
    R.GUESTS_REFUSED: b"AUTHORIZATIONFAILED",
    R.USER_IN_USE: b"ALREADYEXISTS",
    R.INVALID_USERNAME: b"AUTHENTICATIONFAILED",
    R.EXCLUSIVE: b"NOPERM",
    R.WEAK_PASSWORD: b"CANNOT",
    R.REGISTRATION_CLOSED: b"NOPERM",
    R.UNSUPPORTED_LOGIN: b"CANNOT",
    R.THREEPID_UNSUPPORTED: b"CANNOT",
    R.PROFILE_TOO_LARGE: b"LIMIT",
    R.PROFILE_KEY_TOO_LARGE: b"LIMIT",
    R.MANAGED_BY_SERVER: b"NOPERM",
    R.UNKNOWN_ROOM: b"NONEXISTENT",
    R.ROOM_IN_USE: b"ALREADYEXISTS",
    R.INVALID_ROOM_STATE: b"CANNOT",
    R.UNSUPPORTED_ROOM_VERSION: b"CANNOT",
    R.BAD_STATE: b"CANNOT",
    R.CANNOT_LEAVE: b"CANNOT",
    R.BAD_ALIAS: b"CANNOT",
    R.STILL_JOINED: b"CANNOT",
    R.INVITE_BLOCKED: b"NOPERM",
    R.DUPLICATE_ANNOTATION: b"ALREADYEXISTS",
    R.BAD_THREAD: b"CANNOT",
    R.INVALID_SIGNATURE: b"CANNOT",
    R.WRONG_BACKUP_VERSION: b"CANNOT",
    R.KEY_TOO_LARGE: b"LIMIT",
    R.OVER_QUOTA: b"OVERQUOTA",
    R.NOT_YET_UPLOADED: b"UNAVAILABLE",
    R.CANNOT_OVERWRITE: b"ALREADYEXISTS",
    R.CANNOT_THUMBNAIL: b"CANNOT",
    R.UNKNOWN_RECIPIENT: b"NONEXISTENT",
    R.UNKNOWN_SENDER_DOMAIN: b"CANNOT",
    R.BAD_ADDRESS: b"CANNOT",
    R.RELAY_REFUSED: b"NOPERM",
    R.SENDER_NOT_YOURS: b"NOPERM",
    R.LOGIN_REQUIRED: b"AUTHENTICATIONFAILED",
    R.ENCRYPTION_REQUIRED: b"PRIVACYREQUIRED",
    R.TOO_MANY_RECIPIENTS: b"LIMIT",
    R.MAILBOX_FULL: b"OVERQUOTA",
    R.MAIL_LOOP: b"CANNOT",
    R.MALFORMED_MESSAGE: b"CANNOT",
    R.UNAUTHENTIC_MAIL: b"NOPERM",
    R.MAIL_POLICY: b"NOPERM",
    R.UNKNOWN_MAILBOX: b"NONEXISTENT",
    R.MAILBOX_IN_USE: b"ALREADYEXISTS",
    R.BAD_MAILBOX_NAME: b"CANNOT",
    R.TOO_MANY_MAILBOXES: b"LIMIT",
    R.BAD_FLAG: b"CANNOT",
    R.MESSAGE_GONE: b"EXPUNGEISSUED",
    R.VAULT_CLOSED: b"CONTACTADMIN",
    R.BOX_DAMAGED: b"CORRUPTION",
}

UNREADY: Final[dict[Unready, bytes]] = {
    Unready.BUSY: b"INUSE",
    Unready.DISK_FULL: b"UNAVAILABLE",
    Unready.DISK_FAULT: b"UNAVAILABLE",
    Unready.DATABASE_AWAY: b"UNAVAILABLE",
    Unready.STOPPING: b"UNAVAILABLE",
    Unready.TIMEOUT: b"UNAVAILABLE",
    Unready.GREYLISTED: b"UNAVAILABLE",
    Unready.DNS_AWAY: b"UNAVAILABLE",
    Unready.CALLS_AWAY: b"UNAVAILABLE",
    Unready.NOT_YET_OPENED: b"UNAVAILABLE",
}

BUG: Final = Ending("Internal error", b"SERVERBUG", "NO")


def refusal(error: Refused, code: bytes = b"") -> Ending:
    """A refusal; `code` where the command knows better (TRYCREATE)."""
    return Ending(error.public_text, code or CODES.get(error.reason, b"CANNOT"), "NO")


def unavailability(error: Unavailable) -> Ending:
    """What cannot be done now."""
    text = "The server cannot do this now: " + error.reason.value.replace("_", " ")
    return Ending(text, UNREADY[error.reason], "NO")
