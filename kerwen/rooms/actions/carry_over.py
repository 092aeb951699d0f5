"""What somebody set for a room goes with them into the room that replaced it: tags, and the
push rule of the room (CS #room-upgrades)."""

from __future__ import annotations

from kerwen.accounts import account_data_store as account_data
from kerwen.rooms.push_ruleset import put_rule
from kerwen.rooms.store import members, users
from kerwen.storage.database import Database

_TAGS = "m.tag"


async def carry_over(db: Database, user_no: int, old_id: str, new_id: str) -> None:
    """Copies the settings, once: never over what the person set in the new room."""
    async with db.read() as snap:
        old, new = await users.room_no(snap, old_id), await users.room_no(snap, new_id)
        if old is None or new is None or await members.member(snap, old, user_no) is None:
            return
        tags = await account_data.get_room(snap, user_no, old, _TAGS)
        rules = (await account_data.push_ruleset(snap, user_no))[1]["room"]
    has_rule = any(rule["rule_id"] == old_id for rule in rules)
    if tags is None and not has_rule:
        return
    async with db.write() as tx:
        await account_data.lock(tx, user_no)
        if tags is not None and await account_data.get_room(tx, user_no, new, _TAGS) is None:
            account_data.set_room(tx, user_no, new, _TAGS, tags)
        if has_rule:
            ruleset = (await account_data.push_ruleset(tx, user_no))[1]
            known = {rule["rule_id"]: rule for rule in ruleset["room"]}
            if old_id in known and new_id not in known:
                put_rule(ruleset, "room", {**known[old_id], "rule_id": new_id}, None, None)
                account_data.set_push_ruleset(tx, user_no, ruleset)
