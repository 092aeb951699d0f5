"""The error model: what we will not do, what we cannot do now; anything else is a bug.

Each door maps every `Reason` to its own codes in its `replies.py`; no HTTP or SMTP number
stands below a door. `public_text` is for the peer and tells nothing about our set-up.
"""

from __future__ import annotations

import enum
from typing import Any


class Reason(enum.Enum):
    """Why something was refused, in plain words."""

    # requests
    NOT_JSON = "not_json"
    BAD_JSON = "bad_json"
    MISSING_PARAM = "missing_param"
    INVALID_PARAM = "invalid_param"
    TOO_LARGE = "too_large"
    UNRECOGNIZED = "unrecognized"  # no such endpoint
    WRONG_METHOD = "wrong_method"  # the endpoint exists, the method does not
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    UNKNOWN_POSITION = "unknown_position"
    # who asks
    MISSING_TOKEN = "missing_token"
    UNKNOWN_TOKEN = "unknown_token"
    EXPIRED_TOKEN = "expired_token"  # soft logout: a refresh token still stands
    UNKNOWN_DEVICE = "unknown_device"  # an application service names one that its user has not
    FORBIDDEN = "forbidden"
    WRONG_PASSWORD = "wrong_password"
    SECOND_FACTOR_NEEDED = "second_factor_needed"  # the password is right, and not enough
    WRONG_CODE = "wrong_code"  # of a second factor
    LIMIT_EXCEEDED = "limit_exceeded"
    ACCOUNT_LOCKED = "account_locked"
    ACCOUNT_SUSPENDED = "account_suspended"
    ACCOUNT_DEACTIVATED = "account_deactivated"
    GUESTS_REFUSED = "guests_refused"
    # accounts
    USER_IN_USE = "user_in_use"
    INVALID_USERNAME = "invalid_username"
    EXCLUSIVE = "exclusive"
    WEAK_PASSWORD = "weak_password"
    REGISTRATION_CLOSED = "registration_closed"
    UNSUPPORTED_LOGIN = "unsupported_login"
    THREEPID_UNSUPPORTED = "threepid_unsupported"
    PROFILE_TOO_LARGE = "profile_too_large"
    PROFILE_KEY_TOO_LARGE = "profile_key_too_large"
    MANAGED_BY_SERVER = "managed_by_server"  # account data that clients may only read
    # rooms
    UNKNOWN_ROOM = "unknown_room"
    ROOM_IN_USE = "room_in_use"
    INVALID_ROOM_STATE = "invalid_room_state"
    UNSUPPORTED_ROOM_VERSION = "unsupported_room_version"
    BAD_STATE = "bad_state"  # nobody can be let in again who was not shut out
    CANNOT_LEAVE = "cannot_leave"  # what the server has to say is not declined
    BAD_ALIAS = "bad_alias"
    STILL_JOINED = "still_joined"
    INVITE_BLOCKED = "invite_blocked"
    DUPLICATE_ANNOTATION = "duplicate_annotation"
    BAD_THREAD = "bad_thread"  # a thread cannot begin at that event
    INVALID_SIGNATURE = "invalid_signature"
    # keys
    WRONG_BACKUP_VERSION = "wrong_backup_version"
    KEY_TOO_LARGE = "key_too_large"
    # media, quota
    OVER_QUOTA = "over_quota"
    NOT_YET_UPLOADED = "not_yet_uploaded"
    CANNOT_OVERWRITE = "cannot_overwrite"
    CANNOT_THUMBNAIL = "cannot_thumbnail"
    # mail
    UNKNOWN_RECIPIENT = "unknown_recipient"
    UNKNOWN_SENDER_DOMAIN = "unknown_sender_domain"
    BAD_ADDRESS = "bad_address"
    RELAY_REFUSED = "relay_refused"  # neither the sender nor the recipient is ours
    SENDER_NOT_YOURS = "sender_not_yours"
    LOGIN_REQUIRED = "login_required"
    ENCRYPTION_REQUIRED = "encryption_required"
    TOO_MANY_RECIPIENTS = "too_many_recipients"
    MAILBOX_FULL = "mailbox_full"  # the recipient's quota, not the asker's
    MAIL_LOOP = "mail_loop"
    MALFORMED_MESSAGE = "malformed_message"
    UNAUTHENTIC_MAIL = "unauthentic_mail"  # its domain's policy (DMARC) says: reject
    MAIL_POLICY = "mail_policy"  # the operator's rules, junk
    UNKNOWN_MAILBOX = "unknown_mailbox"
    MAILBOX_IN_USE = "mailbox_in_use"  # the name is taken
    BAD_MAILBOX_NAME = "bad_mailbox_name"
    TOO_MANY_MAILBOXES = "too_many_mailboxes"
    BAD_FLAG = "bad_flag"
    MESSAGE_GONE = "message_gone"  # expunged meanwhile
    # vault
    VAULT_CLOSED = "vault_closed"
    BOX_DAMAGED = "box_damaged"


class Unready(enum.Enum):
    """Why something cannot be done just now."""

    BUSY = "busy"
    DISK_FULL = "disk_full"
    DISK_FAULT = "disk_fault"
    DATABASE_AWAY = "database_away"
    STOPPING = "stopping"
    TIMEOUT = "timeout"
    GREYLISTED = "greylisted"
    DNS_AWAY = "dns_away"
    CALLS_AWAY = "calls_away"  # the media server
    NOT_YET_OPENED = "not_yet_opened"  # an imported account before its first log-in


class Refused(Exception):
    """We will not do it: the peer's fault or its lack of a right.

    `extra` are fields that the door adds to its answer (for instance `retry_after_ms`,
    `current_version`); `private` goes to the log only.
    """

    def __init__(
        self,
        reason: Reason,
        public_text: str = "",
        *,
        extra: dict[str, Any] | None = None,
        **private: object,
    ) -> None:
        super().__init__(reason.value, public_text)
        self.reason = reason
        self.public_text = public_text or reason.value.replace("_", " ")
        self.extra = extra
        self.private = private


class Unavailable(Exception):
    """We cannot do it now; the peer may try again after `retry_after_ms`."""

    def __init__(self, reason: Unready, retry_after_ms: int = 1000, **private: object) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.retry_after_ms = retry_after_ms
        self.private = private
