"""A plain model of an account's mail, and random deeds done to it and to the store alike."""

from __future__ import annotations

import random
from collections.abc import Awaitable
from dataclasses import dataclass, field

import pytest

from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions import sealing
from kerwen.mail.actions.append import Item
from kerwen.mail.actions.deliver import Recipient, Target
from kerwen.mail.actions.store_flags import How, Wanted
from kerwen.mail.store import mailboxes as store
from kerwen.mail.store import uid_ranges
from kerwen.mail.store.segment import Flag
from tests.mail_store.house import House, letter

WORDS = ("$Forwarded", "Work", "$MDNSent")


@dataclass
class Message:
    uid: int
    raw: bytes
    no: int
    flags: int
    words: frozenset[str]
    modseq: int


@dataclass
class Box:
    messages: list[Message] = field(default_factory=list)
    uidnext: int = 1
    modseq: int = 0
    vanished: dict[int, int] = field(default_factory=dict)  # UID → MODSEQ


class Model:
    """What the account should hold; `step` does one deed to both."""

    def __init__(self, house: House, account_no: int, seed: int, quota: int) -> None:
        self.house = house
        self.account_no = account_no
        self.chance = random.Random(seed)
        self.quota = quota
        self.boxes = {name: Box() for name in ("INBOX", "Archive", "Trash")}
        self.count = 0
        self.modseq = 1

    @property
    def used(self) -> int:
        return sum(len(m.raw) for box in self.boxes.values() for m in box.messages)

    async def step(self) -> None:
        """One random deed."""
        deeds = (self.deliver, self.append, self.store, self.store, self.copy, self.expunge)
        await self.chance.choice(deeds)()

    def letter(self) -> bytes:
        self.count += 1
        size = self.chance.choice((0, 0, 900, 2_500, 90_000))
        return letter(self.count, f"subject {self.count}", pad=size)

    def name(self) -> str:
        return self.chance.choice(list(self.boxes))

    def words(self) -> frozenset[str]:
        return frozenset(self.chance.sample(WORDS, self.chance.choice((0, 0, 1, 2))))

    def some(self, box: Box) -> list[Message]:
        if not box.messages:
            return []
        first, last = sorted(self.chance.choices(range(len(box.messages)), k=2))
        found = box.messages[first : last + 1]
        return found[:: self.chance.choice((1, 1, 3))]

    def added(self, name: str, raw: bytes, no: int, flags: int, words: frozenset[str]) -> None:
        box = self.boxes[name]
        box.messages.append(Message(box.uidnext, raw, no, flags, words, self.modseq))
        box.uidnext += 1
        box.modseq = self.modseq

    async def deliver(self) -> None:
        raw, name, flags, words = self.letter(), self.name(), Flag.FLAGGED, self.words()
        to = Recipient(self.account_no, (Target(name, flags, tuple(words)),))
        (found,) = await self.house.mail.deliver.run(sealing.make(raw), [to])
        if self.used + len(raw) > self.quota:
            assert found.refused is Reason.MAILBOX_FULL
            return
        assert found.refused is None
        self.modseq += 1
        self.added(name, raw, found.no, flags, words)

    async def append(self) -> None:
        raws = [self.letter() for _ in range(self.chance.choice((1, 3, 30)))]
        name, words = self.name(), self.words()
        items = [Item(sealing.make(raw), Flag.SEEN, tuple(words)) for raw in raws]
        if self.used + sum(map(len, raws)) > self.quota:
            await self.refused(
                Reason.OVER_QUOTA, self.house.mail.append.run(self.account_no, name, items)
            )
            return
        found = await self.house.mail.append.run(self.account_no, name, items)
        self.modseq += 1
        for raw, no in zip(raws, found.nos, strict=True):
            self.added(name, raw, no, Flag.SEEN, words)
        assert found.uids == [m.uid for m in self.boxes[name].messages[-len(raws) :]]

    async def refused(self, reason: Reason, deed: Awaitable[object]) -> None:
        with pytest.raises(Refused) as caught:
            await deed
        assert caught.value.reason is reason

    async def mailbox_no(self, name: str) -> int:
        return (await self.house.mail.mailboxes.find(self.account_no, name)).mailbox_no

    async def store(self) -> None:
        name = self.name()
        box = self.boxes[name]
        chosen = self.some(box)
        how = self.chance.choice(list(How))
        flags = self.chance.randrange(32)
        words = self.words()
        since = self.chance.choice((None, None, self.modseq - 3))
        wanted = Wanted(how, flags, tuple(words), since)
        uids = uid_ranges.of([m.uid for m in chosen])
        done = await self.house.mail.store_flags.run(
            self.account_no, await self.mailbox_no(name), uids, wanted
        )
        modified = [m.uid for m in chosen if since is not None and m.modseq > since]
        assert done.modified == modified
        changed = []
        for m in chosen:
            if m.uid in modified:
                continue
            if how is How.SET:
                after = (flags, words)
            elif how is How.ADD:
                after = (m.flags | flags, m.words | words)
            else:
                after = (m.flags & ~flags, m.words - words)
            if after != (m.flags, m.words):
                m.flags, m.words = after
                changed.append(m)
        assert done.changed == [m.uid for m in changed]
        if changed:
            self.modseq += 1
            assert done.modseq == self.modseq
            box.modseq = self.modseq
            for m in changed:
                m.modseq = self.modseq

    async def copy(self) -> None:
        source, target = self.name(), self.name()
        move = self.chance.random() < 0.6
        chosen = self.some(self.boxes[source])
        deed = self.house.mail.copy.run(
            self.account_no,
            await self.mailbox_no(source),
            uid_ranges.of([m.uid for m in chosen]),
            target,
            move=move,
        )
        size = sum(len(m.raw) for m in chosen)
        if not move and chosen and self.used + size > self.quota:
            await self.refused(Reason.OVER_QUOTA, deed)
            return
        done = await deed
        assert done.sources == [m.uid for m in chosen]
        if not chosen:
            return
        self.modseq += 1
        if move:
            self.vanish(self.boxes[source], chosen)
        first = self.boxes[target].uidnext
        for m in chosen:
            self.added(target, m.raw, m.no, m.flags, m.words)
        assert done.targets == list(range(first, self.boxes[target].uidnext))

    def vanish(self, box: Box, gone: list[Message]) -> None:
        box.messages = [m for m in box.messages if m not in gone]
        box.vanished.update((m.uid, self.modseq) for m in gone)
        box.modseq = self.modseq

    async def expunge(self) -> None:
        name = self.name()
        box = self.boxes[name]
        only = self.chance.random() < 0.7
        chosen = box.messages if only else self.some(box)
        uids = uid_ranges.EVERY if only else uid_ranges.of([m.uid for m in chosen])
        gone = [m for m in chosen if not only or m.flags & Flag.DELETED]
        done = await self.house.mail.expunge.run(
            self.account_no, await self.mailbox_no(name), uids, only_deleted=only
        )
        assert done.uids == [m.uid for m in gone]
        if gone:
            self.modseq += 1
            self.vanish(box, gone)

    async def check(self, since: int) -> None:
        """Everything is as the model says, also what is told of changes after a MODSEQ."""
        mail = self.house.mail
        listed = await mail.mailboxes.listing(self.account_no)
        assert listed.account.modseq == self.modseq
        assert listed.account.used == self.used
        assert listed.account.placed == sum(len(box.messages) for box in self.boxes.values())
        async with self.house.db.read() as snap:
            known = await store.keywords(snap, self.account_no)
        for row in listed.mailboxes:
            box = self.boxes.get(row.name)
            if box is None:
                continue
            assert (row.messages, row.uidnext) == (len(box.messages), box.uidnext)
            assert row.unseen == sum(1 for m in box.messages if not m.flags & Flag.SEEN)
            assert row.deleted == sum(1 for m in box.messages if m.flags & Flag.DELETED)
            assert row.bytes == sum(len(m.raw) for m in box.messages)
            assert row.modseq == (box.modseq or 1)
            view = await mail.views.current(self.account_no, row.mailbox_no)
            found = [view[place] for place in range(len(view))]
            assert [
                (p.uid, p.no, p.flags, self.named(known, p.keywords), p.modseq, p.size)
                for p in found
            ] == [(m.uid, m.no, m.flags, m.words, m.modseq, len(m.raw)) for m in box.messages]
            changes = await mail.changes.mailbox(self.account_no, row.mailbox_no, since)
            assert [p.uid for p in changes.changed] == [
                m.uid for m in box.messages if m.modseq > since
            ]
            assert sorted(changes.vanished) == sorted(
                uid for uid, modseq in box.vanished.items() if modseq > since
            )

    def named(self, known: list[str], bits: int) -> frozenset[str]:
        return frozenset(word for place, word in enumerate(known) if bits >> place & 1)

    async def check_bodies(self) -> None:
        """Every message that is there is read back."""
        mail = self.house.mail
        wanted = {m.no: m.raw for box in self.boxes.values() for m in box.messages}
        with await self.house.open(self.account_no) as lease:
            assert await mail.records.messages(lease.unlocked, list(wanted)) == wanted
            cards = await mail.records.cards(lease.unlocked, list(wanted))
        assert cards.keys() == wanted.keys()
