"""How each reason reads over HTTP: status and Matrix error code (CS #standard-error-response)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson

from kerwen.base.errors import Reason, Refused, Unavailable, Unready

R = Reason

CODES: dict[Reason, tuple[int, str]] = {
    R.NOT_JSON: (400, "M_NOT_JSON"),
    R.BAD_JSON: (400, "M_BAD_JSON"),
    R.MISSING_PARAM: (400, "M_MISSING_PARAM"),
    R.INVALID_PARAM: (400, "M_INVALID_PARAM"),
    R.TOO_LARGE: (413, "M_TOO_LARGE"),
    R.UNRECOGNIZED: (404, "M_UNRECOGNIZED"),
    R.WRONG_METHOD: (405, "M_UNRECOGNIZED"),
    R.NOT_FOUND: (404, "M_NOT_FOUND"),
    R.CONFLICT: (409, "M_UNKNOWN"),
    R.UNKNOWN_POSITION: (400, "M_UNKNOWN_POS"),
    R.MISSING_TOKEN: (401, "M_MISSING_TOKEN"),
    R.UNKNOWN_TOKEN: (401, "M_UNKNOWN_TOKEN"),
    R.EXPIRED_TOKEN: (401, "M_UNKNOWN_TOKEN"),
    R.UNKNOWN_DEVICE: (400, "M_UNKNOWN_DEVICE"),
    R.FORBIDDEN: (403, "M_FORBIDDEN"),
    R.WRONG_PASSWORD: (403, "M_FORBIDDEN"),
    R.SECOND_FACTOR_NEEDED: (403, "M_FORBIDDEN"),
    R.WRONG_CODE: (403, "M_FORBIDDEN"),
    R.LIMIT_EXCEEDED: (429, "M_LIMIT_EXCEEDED"),
    R.ACCOUNT_LOCKED: (401, "M_USER_LOCKED"),
    R.ACCOUNT_SUSPENDED: (403, "M_USER_SUSPENDED"),
    R.ACCOUNT_DEACTIVATED: (403, "M_USER_DEACTIVATED"),
    R.GUESTS_REFUSED: (403, "M_GUEST_ACCESS_FORBIDDEN"),
    R.USER_IN_USE: (400, "M_USER_IN_USE"),
    R.INVALID_USERNAME: (400, "M_INVALID_USERNAME"),
    R.EXCLUSIVE: (400, "M_EXCLUSIVE"),
    R.WEAK_PASSWORD: (400, "M_WEAK_PASSWORD"),
    R.REGISTRATION_CLOSED: (403, "M_FORBIDDEN"),
    R.UNSUPPORTED_LOGIN: (400, "M_UNKNOWN"),
    R.THREEPID_UNSUPPORTED: (403, "M_THREEPID_DENIED"),
    R.PROFILE_TOO_LARGE: (400, "M_PROFILE_TOO_LARGE"),
    R.PROFILE_KEY_TOO_LARGE: (400, "M_KEY_TOO_LARGE"),
    R.MANAGED_BY_SERVER: (405, "M_BAD_JSON"),
    R.UNKNOWN_ROOM: (404, "M_NOT_FOUND"),
    R.ROOM_IN_USE: (400, "M_ROOM_IN_USE"),
    R.INVALID_ROOM_STATE: (400, "M_INVALID_ROOM_STATE"),
    R.UNSUPPORTED_ROOM_VERSION: (400, "M_UNSUPPORTED_ROOM_VERSION"),
    R.BAD_STATE: (403, "M_BAD_STATE"),
    R.CANNOT_LEAVE: (403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"),
    R.BAD_ALIAS: (400, "M_BAD_ALIAS"),
    R.STILL_JOINED: (400, "M_UNKNOWN"),
    R.INVITE_BLOCKED: (403, "M_INVITE_BLOCKED"),
    R.DUPLICATE_ANNOTATION: (400, "M_DUPLICATE_ANNOTATION"),
    R.BAD_THREAD: (400, "M_UNKNOWN"),
    R.INVALID_SIGNATURE: (400, "M_INVALID_SIGNATURE"),
    R.WRONG_BACKUP_VERSION: (403, "M_WRONG_ROOM_KEYS_VERSION"),
    R.KEY_TOO_LARGE: (400, "M_KEY_TOO_LARGE"),
    R.OVER_QUOTA: (403, "M_FORBIDDEN"),
    R.NOT_YET_UPLOADED: (504, "M_NOT_YET_UPLOADED"),
    R.CANNOT_OVERWRITE: (409, "M_CANNOT_OVERWRITE_MEDIA"),
    R.CANNOT_THUMBNAIL: (400, "M_UNKNOWN"),
    R.UNKNOWN_RECIPIENT: (404, "M_NOT_FOUND"),
    R.UNKNOWN_SENDER_DOMAIN: (403, "M_FORBIDDEN"),
    R.BAD_ADDRESS: (400, "M_INVALID_PARAM"),
    R.RELAY_REFUSED: (403, "M_FORBIDDEN"),
    R.SENDER_NOT_YOURS: (403, "M_FORBIDDEN"),
    R.LOGIN_REQUIRED: (401, "M_MISSING_TOKEN"),
    R.ENCRYPTION_REQUIRED: (403, "M_FORBIDDEN"),
    R.TOO_MANY_RECIPIENTS: (400, "M_TOO_LARGE"),
    R.MAILBOX_FULL: (403, "M_FORBIDDEN"),
    R.MAIL_LOOP: (403, "M_FORBIDDEN"),
    R.MALFORMED_MESSAGE: (400, "M_INVALID_PARAM"),
    R.UNAUTHENTIC_MAIL: (403, "M_FORBIDDEN"),
    R.MAIL_POLICY: (403, "M_FORBIDDEN"),
    R.UNKNOWN_MAILBOX: (404, "M_NOT_FOUND"),
    R.MAILBOX_IN_USE: (409, "M_UNKNOWN"),
    R.BAD_MAILBOX_NAME: (400, "M_INVALID_PARAM"),
    R.TOO_MANY_MAILBOXES: (403, "M_FORBIDDEN"),
    R.BAD_FLAG: (400, "M_INVALID_PARAM"),
    R.MESSAGE_GONE: (404, "M_NOT_FOUND"),
    R.VAULT_CLOSED: (403, "M_FORBIDDEN"),
    R.BOX_DAMAGED: (500, "M_UNKNOWN"),
}

UNREADY: dict[Unready, tuple[int, str]] = {
    Unready.BUSY: (503, "M_UNKNOWN"),
    Unready.DISK_FULL: (507, "M_RESOURCE_LIMIT_EXCEEDED"),
    Unready.DISK_FAULT: (503, "M_UNKNOWN"),
    Unready.DATABASE_AWAY: (503, "M_UNKNOWN"),
    Unready.STOPPING: (503, "M_UNKNOWN"),
    Unready.TIMEOUT: (504, "M_UNKNOWN"),
    Unready.GREYLISTED: (503, "M_UNKNOWN"),
    Unready.DNS_AWAY: (503, "M_UNKNOWN"),
    Unready.CALLS_AWAY: (503, "M_UNKNOWN"),
    Unready.NOT_YET_OPENED: (503, "M_UNKNOWN"),
}

_SOFT = {R.EXPIRED_TOKEN, R.ACCOUNT_LOCKED}  # clients keep their data: CS #soft-logout


def refusal(error: Refused) -> tuple[int, bytes]:
    """Status and body of a refusal."""
    status, code = CODES[error.reason]
    body: dict[str, Any] = {"errcode": code, "error": error.public_text}
    if error.reason in _SOFT:
        body["soft_logout"] = True
    if error.extra:
        body.update(error.extra)
    return status, orjson.dumps(body)


def unavailability(error: Unavailable) -> tuple[int, bytes]:
    """Status and body when we cannot do it now."""
    status, code = UNREADY[error.reason]
    text = {"errcode": code, "error": "The server cannot do this now: " + error.reason.value}
    return status, orjson.dumps({**text, "retry_after_ms": error.retry_after_ms})


def fault(status: int) -> bytes:
    """The body for a request that broke HTTP and so never reached a route."""
    code = "M_TOO_LARGE" if status in (413, 414, 431) else "M_UNKNOWN"
    return orjson.dumps({"errcode": code, "error": HTTPStatus(status).phrase})
