"""What people keep for themselves: account data, tags, push rules, pushers, filters, and how far
they have read. After the rooms, since most of it is about rooms.
"""

from __future__ import annotations

import itertools
from typing import Any

import orjson

from kerwen.accounts import account_data_store as store
from kerwen.accounts.account_data_store import Pusher
from kerwen.base.errors import Refused
from kerwen.commands.synapse.ledger import Ledger
from kerwen.commands.synapse.source import read
from kerwen.rooms import filters
from kerwen.rooms.push_ruleset import Ruleset, default_ruleset, parse_rule
from kerwen.rooms.store import events, marks, members, receipts

_CLASSES = {1: "underride", 2: "sender", 3: "room", 4: "content", 5: "override"}
_FORGOTTEN = (
    "select m.room_id, m.user_id from room_memberships m join current_state_events c"
    " on c.event_id = m.event_id where m.forgotten = 1"
)


async def import_personal(ledger: Ledger) -> None:
    """Everything that is somebody's own."""
    ledger.tx.pos = ledger.end
    ledger.end += 1
    await _account_data(ledger)
    await _room_account_data(ledger)
    await _tags(ledger)
    await _push_rules(ledger)
    await _pushers(ledger)
    await _filters(ledger)
    await _receipts(ledger)
    await _forgotten(ledger)


async def _account_data(ledger: Ledger) -> None:
    rows = read(ledger.source, "account_data", "user_id", "account_data_type", "content")
    for user_id, kind, content in ledger.counted("account data", rows):
        if user_id in ledger.accounts and kind != store.PUSH_RULES:
            store.set_global(ledger.tx, ledger.accounts[user_id], kind, content.encode())


async def _room_account_data(ledger: Ledger) -> None:
    rows = read(
        ledger.source, "room_account_data", "user_id", "room_id", "account_data_type", "content"
    )
    for user_id, room_id, kind, content in ledger.counted("account data of rooms", rows):
        account_no, room_no = ledger.accounts.get(user_id), ledger.rooms.get(room_id)
        if account_no is not None and room_no is not None:
            store.set_room(ledger.tx, account_no, room_no, kind, content.encode())


async def _tags(ledger: Ledger) -> None:
    rows = read(
        ledger.source, "room_tags", "user_id", "room_id", "tag", "content",
        rest="order by user_id, room_id",
    )  # fmt: skip
    counted = ledger.counted("tags", rows)
    for (user_id, room_id), group in itertools.groupby(counted, lambda row: (row[0], row[1])):
        tags = {row[2]: orjson.loads(row[3]) for row in group}
        account_no, room_no = ledger.accounts.get(user_id), ledger.rooms.get(room_id)
        if account_no is not None and room_no is not None:
            content = orjson.dumps({"tags": tags})
            store.set_room(ledger.tx, account_no, room_no, "m.tag", content)


# --- notifications --------------------------------------------------------------------------


async def _push_rules(ledger: Ledger) -> None:
    enabled: dict[str, dict[str, bool]] = {}
    for user_id, rule_id, on in read(
        ledger.source, "push_rules_enable", "user_name", "rule_id", "enabled"
    ):
        enabled.setdefault(user_id, {})[rule_id] = bool(on)
    rows = read(
        ledger.source, "push_rules", "user_name", "rule_id", "priority_class", "conditions",
        "actions",
        rest="order by user_name, priority_class desc, priority desc",
    )  # fmt: skip
    counted = ledger.counted("push rules", rows)
    for user_id, group in itertools.groupby(counted, lambda row: row[0]):
        _keep_rules(ledger, user_id, list(group), enabled.pop(user_id, {}))
    for user_id, switched in enabled.items():
        _keep_rules(ledger, user_id, [], switched)


def _keep_rules(
    ledger: Ledger, user_id: str, rows: list[tuple[Any, ...]], enabled: dict[str, bool]
) -> None:
    """One person's rules, in order, under the server's own."""
    account_no = ledger.accounts.get(user_id)
    if account_no is None:
        return
    ruleset = default_ruleset(user_id)
    own: Ruleset = {kind: [] for kind in ruleset}
    for _, name, priority_class, conditions, actions in rows:
        kind, _, rule_id = name.removeprefix("global/").partition("/")
        if rule_id.startswith("."):
            for rule in ruleset.get(kind, ()):
                if rule["rule_id"] == rule_id:
                    rule["actions"] = orjson.loads(actions)
            continue
        kind = _CLASSES.get(priority_class, kind)
        try:
            rule = parse_rule(kind, rule_id, _rule_body(kind, conditions, actions))
        except Refused:
            ledger.left_out["push rules of another shape"] += 1
            continue
        rule["enabled"] = enabled.get(name, True)
        own[kind].append(rule)
    for kind, rules in ruleset.items():
        for rule in rules:
            rule["enabled"] = enabled.get(f"global/{kind}/{rule['rule_id']}", rule["enabled"])
        at = 1 if kind == "override" else 0  # the master rule is above all
        rules[at:at] = own[kind]
    store.set_push_ruleset(ledger.tx, account_no, ruleset)


def _rule_body(kind: str, conditions: str, actions: str) -> dict[str, Any]:
    """A rule as its owner once sent it; Synapse writes patterns as conditions."""
    found = [
        {k: v for k, v in condition.items() if not k.startswith("_")}
        for condition in orjson.loads(conditions)
    ]
    body: dict[str, Any] = {"actions": orjson.loads(actions), "conditions": found}
    if kind == "content":
        body["pattern"] = next((c.get("pattern") for c in found), None)
    return body


async def _pushers(ledger: Ledger) -> None:
    rows = read(
        ledger.source, "pushers", "user_name", "device_id", "kind", "app_id", "pushkey",
        "app_display_name", "device_display_name", "profile_tag", "lang", "data", "ts", "enabled",
    )  # fmt: skip
    for row in ledger.counted("pushers", rows):
        user_id, device_id, kind, app_id, pushkey, app, device, tag, lang, data, ts, on = row
        account_no = ledger.accounts.get(user_id)
        device_no = ledger.devices.get((user_id, device_id), 0)
        if account_no is None or kind != "http" or on is False or on == 0:
            ledger.left_out["pushers that are off, or by mail"] += 1
            continue
        shown = {
            "app_id": app_id,
            "pushkey": pushkey,
            "kind": kind,
            "app_display_name": app,
            "device_display_name": device,
            "lang": lang or "en",
            "data": orjson.loads(data or "{}"),
        }
        if tag:
            shown["profile_tag"] = tag
        pusher = Pusher(app_id, pushkey, kind, device_no, orjson.dumps(shown))
        await store.set_pusher(ledger.tx, account_no, pusher, ts)


async def _filters(ledger: Ledger) -> None:
    rows = read(
        ledger.source, "user_filters", "user_id", "full_user_id", "filter_id", "filter_json"
    )
    for local, full, filter_id, text in ledger.counted("filters", rows):
        account_no = ledger.accounts.get(full or ledger.mine(local))
        if account_no is None:
            continue
        try:
            source = filters.parse_json(text if isinstance(text, str) else bytes(text)).source
        except Refused:
            ledger.left_out["filters of another shape"] += 1
            continue
        await store.keep_filter(ledger.tx, account_no, int(filter_id), source)


# --- reading --------------------------------------------------------------------------------


async def _receipts(ledger: Ledger) -> None:
    rows = read(
        ledger.source, "receipts_linearized", "room_id", "receipt_type", "user_id", "event_id",
        "thread_id", "data",
        rest="order by stream_id",
    )  # fmt: skip
    tx = ledger.tx
    for room_id, kind, user_id, event_id, thread, data in ledger.counted("receipts", rows):
        room_no = ledger.rooms.get(room_id)
        where = await events.where(tx, event_id)
        if room_no is None or where is None or where[0] != room_no or where[1] is None:
            continue
        user_no, (_, seq, loud) = await ledger.user(user_id), where
        receipts.set_receipt(
            tx,
            room_no=room_no,
            user_no=user_no,
            receipt_type=kind,
            thread=thread or "",
            event_id=event_id,
            seq=seq,
            ts=orjson.loads(data).get("ts", 0),
        )
        if thread in (None, "main"):
            members.mark_read(tx, room_no, user_no, seq, loud)
        cleared = "*" if thread is None else "" if thread == "main" else thread
        marks.clear_marks(tx, room_no, user_no, seq, cleared)


async def _forgotten(ledger: Ledger) -> None:
    for room_id, user_id in ledger.source.rows(_FORGOTTEN):
        if room_id in ledger.rooms and user_id in ledger.accounts:
            await members.forget(ledger.tx, ledger.rooms[room_id], ledger.accounts[user_id])
