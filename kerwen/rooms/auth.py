"""Authorization: may this event be in this room, given this state?"""

# RV #authorization-rules, RV12 #authorisation-rules, SS #auth-events-selection

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

from kerwen.base import signing
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.event import Event, StateKey, is_user_id, server_of
from kerwen.rooms.power import NAMED_DEFAULTS, PowerLevels, creator_of, creators_of, level_of
from kerwen.rooms.versions import ROOM_VERSIONS, RoomVersion

AuthState = Mapping[StateKey, Event]

CREATE: Final = ("m.room.create", "")
POWER_LEVELS: Final = ("m.room.power_levels", "")
JOIN_RULES: Final = ("m.room.join_rules", "")

# Versions 1 and 2 are known, though not served: a create event may name them.
_KNOWN_VERSIONS: Final = frozenset({"1", "2", *ROOM_VERSIONS})
_THIRD_PARTY_KEYS_MAX: Final = 20
_THIRD_PARTY_SIGNATURES_MAX: Final = 20


def auth_types(
    version: RoomVersion,
    event_type: str,
    sender: str,
    state_key: str | None,
    content: Mapping[str, Any],
) -> list[StateKey]:
    """Which entries of the room state to select as `auth_events` of such an event."""
    # SS #auth-events-selection
    if event_type == "m.room.create":
        return []
    keys = [CREATE] if version.create_in_auth_events else []
    keys += (POWER_LEVELS, ("m.room.member", sender))
    if event_type == "m.room.member" and state_key is not None:
        keys += _member_auth_types(version, state_key, content)
    return list(dict.fromkeys(keys))


def auth_types_of(event: Event) -> list[StateKey]:
    """`auth_types` of an event that is there."""
    # only member events' selection looks at the content: others need not be parsed for it
    content = event.content if event.type == "m.room.member" else {}
    return auth_types(event.version, event.type, event.sender, event.state_key, content)


def check_auth(event: Event, state: AuthState, version: RoomVersion | None = None) -> None:
    """Refuse (`FORBIDDEN`) an event that the room state `state` does not allow.

    `state` may be the whole room state or only what `auth_types` selects, and always holds
    the create event (in rooms of version 12 on too, where no event names it). The rule on
    `auth_events` themselves is `check_auth_events`; signatures are checked before, by
    `required_signers`.
    """
    version = version or event.version
    if event.type == "m.room.create":
        return _check_create(event, version)
    create = state.get(CREATE)
    if create is None or create.rejected:
        _refuse("The room has no create event")
    if create.room_id != event.room_id:  # from v12 on: the create event's hash
        _refuse("The event belongs to another room")
    _check_federate(event, create)
    if version.aliases_rule and event.type == "m.room.aliases":
        return _check_aliases(event)
    levels = PowerLevels(create, state.get(POWER_LEVELS), version)
    if event.type == "m.room.member":
        return _Membership(event, state, version, create, levels).check()
    if _membership_in(state, event.sender) != "join":
        _refuse("The sender is not in the room")
    sender_level = levels.user(event.sender)
    if event.type == "m.room.third_party_invite":
        if sender_level < levels.named("invite"):
            _refuse("The sender may not invite")
        return None
    if sender_level < levels.required(event.type, is_state=event.is_state):
        _refuse(f"The sender may not send {event.type} events")
    owner = event.state_key or ""
    if owner.startswith("@") and owner != event.sender:
        _refuse("The state belongs to another user")
    if event.type == "m.room.power_levels":
        _check_power_levels(event, state, version, create, sender_level)
    return None


def check_auth_events(event: Event, auth_events: Iterable[Event]) -> None:
    """Refuse (`FORBIDDEN`) an event whose `auth_events` are not those it should have.

    `auth_events` are the events that `event.auth_events` names, all of them.
    """
    # RV12 #authorisation-rules (3), RV11 (2)
    if event.type == "m.room.create":
        return
    wanted = set(auth_types_of(event))
    seen: set[StateKey] = set()
    for auth in auth_events:
        if auth.state_key is None or auth.key not in wanted:
            _refuse("An auth event is not one that this event should have")
        if auth.key in seen:
            _refuse("Two auth events stand for the same state")
        if auth.rejected:
            _refuse("An auth event was rejected")
        if auth.room_id != event.room_id:
            _refuse("An auth event belongs to another room")
        seen.add(auth.key)
    if event.version.create_in_auth_events and CREATE not in seen:
        _refuse("The auth events lack the create event")


def required_signers(event: Event) -> frozenset[str]:
    """The servers whose signatures an event from another server must bear."""
    # SS #validating-hashes-and-signatures-on-received-events, RV8 #authorization-rules (4.2)
    signers = {event.server}
    if event.type == "m.room.member":
        if event.membership == "invite" and "third_party_invite" in event.content:
            # the server that exchanges the invite need not be the inviter's
            signers.discard(event.server)
        authorizer = event.content.get("join_authorised_via_users_server")
        if event.version.restricted and isinstance(authorizer, str):
            signers.add(server_of(authorizer))
    return frozenset(signers)


def may_redact(redaction: Event, target: Event, state: AuthState) -> bool:
    """Whether a redaction that is in the room also takes effect, by the state at it."""
    # RV #handling-redactions
    levels = PowerLevels.of_state(state, redaction.version)
    if levels.user(redaction.sender) >= levels.named("redact"):
        return True
    return redaction.server == target.server


def _refuse(text: str) -> NoReturn:
    raise Refused(Reason.FORBIDDEN, text)


def _membership_in(state: AuthState, user_id: str) -> str | None:
    member = state.get(("m.room.member", user_id))
    return None if member is None else member.membership


def _member_auth_types(
    version: RoomVersion, state_key: str, content: Mapping[str, Any]
) -> list[StateKey]:
    keys: list[StateKey] = [("m.room.member", state_key)]
    membership = content.get("membership")
    if membership in ("join", "invite", "knock"):
        keys.append(JOIN_RULES)
    if membership == "invite":
        token = _third_party_token(content)
        if token is not None:
            keys.append(("m.room.third_party_invite", token))
    if membership == "join" and version.restricted:
        authorizer = content.get("join_authorised_via_users_server")
        if isinstance(authorizer, str):
            keys.append(("m.room.member", authorizer))
    return keys


def _third_party_token(content: Mapping[str, Any]) -> str | None:
    invite = content.get("third_party_invite")
    signed = invite.get("signed") if isinstance(invite, dict) else None
    token = signed.get("token") if isinstance(signed, dict) else None
    return token if isinstance(token, str) else None


# --- m.room.create, m.federate, m.room.aliases --------------------------------------------


def _check_create(event: Event, version: RoomVersion) -> None:
    if event.prev_events:
        _refuse("A create event comes first")
    # from v12 on the event has no room ID to look at: `parse_pdu` saw to that
    if not version.room_id_is_create_hash and server_of(event.room_id) != event.server:
        _refuse("The room ID is not of the sender's server")
    named = event.content.get("room_version", "1")
    if not isinstance(named, str) or named not in _KNOWN_VERSIONS:
        _refuse("The create event names an unknown room version")
    if not version.creator_is_sender and "creator" not in event.content:
        _refuse("The create event names no creator")
    if version.privileged_creators and "additional_creators" in event.content:
        additional = event.content["additional_creators"]
        if not isinstance(additional, list) or not all(map(is_user_id, additional)):
            _refuse("`additional_creators` is not a list of user IDs")


def _check_federate(event: Event, create: Event) -> None:
    if create.content.get("m.federate", True) is False and event.server != create.server:
        _refuse("The room is not for other servers")


def _check_aliases(event: Event) -> None:
    if event.state_key != event.server:  # a missing state key is none of a server either
        _refuse("The aliases are not those of the sender's server")


# --- m.room.member ------------------------------------------------------------------------


class _Membership:
    """The rules on one member event: who does what to whom, in which room."""

    __slots__ = ("content", "create", "event", "levels", "sender", "state", "target", "version")

    def __init__(
        self,
        event: Event,
        state: AuthState,
        version: RoomVersion,
        create: Event,
        levels: PowerLevels,
    ) -> None:
        if event.state_key is None or "membership" not in event.content:
            _refuse("A member event has a state key and a membership")
        self.event = event
        self.state = state
        self.version = version
        self.create = create
        self.levels = levels
        self.sender = event.sender
        self.target = event.state_key
        self.content = event.content

    def check(self) -> None:
        if self.version.restricted and "join_authorised_via_users_server" in self.content:
            self.check_authorizer_signed()
        match self.content["membership"]:
            case "join":
                self.check_join()
            case "invite":
                self.check_invite()
            case "leave":
                self.check_leave()
            case "ban":
                self.check_ban()
            case "knock" if self.version.knock:
                self.check_knock()
            case _:
                _refuse("The membership is unknown")

    def check_authorizer_signed(self) -> None:
        """That the signature is there; that it fits was checked with the event's others."""
        authorizer = self.content["join_authorised_via_users_server"]
        if not isinstance(authorizer, str):
            _refuse("`join_authorised_via_users_server` is not a user ID")
        if not signing.key_ids_of(self.event.pdu(), server_of(authorizer)):
            _refuse("The server that allowed the join did not sign it")

    def check_join(self) -> None:
        after_create = self.event.prev_events == (self.create.event_id,)
        if after_create and self.target == creator_of(self.create):
            return
        if self.sender != self.target:
            _refuse("Nobody can join for another")
        now = self.membership(self.target)
        if now == "ban":
            _refuse("The user is banned")
        rule = self.join_rule()
        if rule == "public":
            return
        if rule == "invite" or (rule == "knock" and self.version.knock):
            if now in ("join", "invite"):
                return
        elif self.is_restricted(rule):
            if now not in ("join", "invite"):
                self.check_authorizer()
            return
        _refuse("The room is for invited users")

    def check_authorizer(self) -> None:
        authorizer = self.content.get("join_authorised_via_users_server")
        if not isinstance(authorizer, str) or self.membership(authorizer) != "join":
            _refuse("Nobody in the room allowed the join")
        if self.levels.user(authorizer) < self.levels.named("invite"):
            _refuse("Who allowed the join may not invite")

    def check_invite(self) -> None:
        if "third_party_invite" in self.content:
            return self.check_third_party_invite()
        self.check_sender_joined()
        if self.membership(self.target) in ("join", "ban"):
            _refuse("The user is in the room, or banned")
        if self.level(self.sender) < self.levels.named("invite"):
            _refuse("The sender may not invite")

    def check_third_party_invite(self) -> None:
        if self.membership(self.target) == "ban":
            _refuse("The user is banned")
        invite = self.content["third_party_invite"]
        signed = invite.get("signed") if isinstance(invite, dict) else None
        if not isinstance(signed, dict) or "mxid" not in signed:
            _refuse("The invite by address is not signed")
        token = _third_party_token(self.content)
        if token is None:
            _refuse("The invite by address has no token")
        if signed["mxid"] != self.target:
            _refuse("The invite by address is for another user")
        offer = self.state.get(("m.room.third_party_invite", token))
        if offer is None:
            _refuse("There is no such invite by address")
        if offer.sender != self.sender:
            _refuse("The invite by address is of another sender")
        if not _signed_by_any(signed, _third_party_public_keys(offer.content)):
            _refuse("The invite by address is not signed by its identity server")

    def check_leave(self) -> None:
        now = self.membership(self.target)
        if self.sender == self.target:
            if now in ("join", "invite") or (now == "knock" and self.version.knock):
                return
            _refuse("The user is not in the room")
        self.check_sender_joined()
        level = self.level(self.sender)
        if now == "ban" and level < self.levels.named("ban"):
            _refuse("The sender may not lift bans")
        if level < self.levels.named("kick") or self.level(self.target) >= level:
            _refuse("The sender may not remove the user")

    def check_ban(self) -> None:
        self.check_sender_joined()
        level = self.level(self.sender)
        if level < self.levels.named("ban") or self.level(self.target) >= level:
            _refuse("The sender may not ban the user")

    def check_knock(self) -> None:
        rule = self.join_rule()
        if rule != "knock" and not (rule == "knock_restricted" and self.version.knock_restricted):
            _refuse("The room is not for knocking")
        if self.sender != self.target:
            _refuse("Nobody can knock for another")
        if self.membership(self.target) in ("ban", "invite", "join"):
            _refuse("The user cannot knock now")

    def check_sender_joined(self) -> None:
        if self.membership(self.sender) != "join":
            _refuse("The sender is not in the room")

    def is_restricted(self, rule: object) -> bool:
        if rule == "restricted":
            return self.version.restricted
        return rule == "knock_restricted" and self.version.knock_restricted

    def join_rule(self) -> object:
        rules = self.state.get(JOIN_RULES)
        return "invite" if rules is None else rules.content.get("join_rule", "invite")

    def membership(self, user_id: str) -> str | None:
        return _membership_in(self.state, user_id)

    def level(self, user_id: str) -> int:
        return self.levels.user(user_id)


def _third_party_public_keys(offer: Mapping[str, Any]) -> list[bytes]:
    texts = [offer.get("public_key")]
    others = offer.get("public_keys")
    if isinstance(others, list):
        texts += [k.get("public_key") for k in others[:_THIRD_PARTY_KEYS_MAX] if type(k) is dict]
    keys = []
    for text in texts:
        try:
            keys.append(signing.decode_base64(text) if isinstance(text, str) else b"")
        except ValueError:
            continue
    return [key for key in keys if key]


def _signed_by_any(signed: Mapping[str, Any], public_keys: list[bytes]) -> bool:
    """Whether any Ed25519 signature of the object fits any of the keys, whoever made it."""
    signatures = signed.get("signatures")
    if not isinstance(signatures, dict) or not public_keys:
        return False
    try:
        covered = signing.signable(signed)
    except Refused:
        return False
    names = [(name, k) for name in signatures for k in signing.key_ids_of(signed, name)]
    for name, key_id in names[:_THIRD_PARTY_SIGNATURES_MAX]:
        try:
            signature = signing.signature_of(signed, name, key_id)
        except Refused:
            continue
        if any(signing.verify(key, covered, signature) for key in public_keys):
            return True
    return False


# --- m.room.power_levels ------------------------------------------------------------------


def _check_power_levels(
    event: Event, state: AuthState, version: RoomVersion, create: Event, sender_level: int
) -> None:
    new = event.content
    _check_levels_format(new, version)
    if version.privileged_creators and not creators_of(create).isdisjoint(new.get("users", {})):
        _refuse("The power of creators cannot be set")
    current = state.get(POWER_LEVELS)
    if current is None:
        return
    old = current.content
    for name in NAMED_DEFAULTS:
        _check_change(name, old, new, version, sender_level)
    tables = ("events", "notifications") if version.notification_levels else ("events",)
    for table in tables:
        old_table, new_table = _table(old, table), _table(new, table)
        for name in old_table.keys() | new_table.keys():
            _check_change(name, old_table, new_table, version, sender_level)
    old_users, new_users = _table(old, "users"), _table(new, "users")
    for user in old_users.keys() | new_users.keys():
        # another's level must be below the sender's own, one's own may equal it
        limit = sender_level if user == event.sender else sender_level - 1
        _check_change(user, old_users, new_users, version, sender_level, limit)


def _check_change(
    name: str,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    version: RoomVersion,
    new_max: int,
    old_max: int | None = None,
) -> None:
    """Refuse a change of one level from above `old_max` (or `new_max`) or to above `new_max`."""
    was, will = level_of(old.get(name), version), level_of(new.get(name), version)
    if name in new and will is None:
        _refuse(f"The level of {name} is not a number")
    if was == will:
        return
    if was is not None and was > (new_max if old_max is None else old_max):
        _refuse(f"The sender may not change the level of {name}")
    if will is not None and will > new_max:
        _refuse(f"The sender may not give {name} more power than it has itself")


def _check_levels_format(content: Mapping[str, Any], version: RoomVersion) -> None:
    if version.integer_power_levels:
        for name in NAMED_DEFAULTS:
            if name in content and type(content[name]) is not int:
                _refuse(f"`{name}` is not an integer")
        for name in ("events", "notifications"):
            table = content.get(name, {})
            if type(table) is not dict or not all(type(v) is int for v in table.values()):
                _refuse(f"`{name}` is not an object of integers")
    # The rule says "not an object"; every server lets a missing `users` pass.
    users = content.get("users", {})
    if type(users) is not dict:
        _refuse("`users` is not an object")
    for user, level in users.items():
        if not is_user_id(user) or level_of(level, version) is None:
            _refuse("`users` does not map user IDs to integers")


def _table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = content.get(name)
    return table if isinstance(table, dict) else {}
