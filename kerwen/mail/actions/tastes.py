"""Learns what an account's owner takes for junk, and sorts by it what came while nobody could.

Lessons are what is moved into Junk and out of it, and the flags $Junk and $NotJunk. The model is
sealed like the mail, so it is read only while the vault is open: by a delivery to somebody who is
signed in, and at the next sign-in for all that came before, ere it is listed.
"""

# design.md §5

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from kerwen.base.errors import Reason, Refused, Unavailable
from kerwen.mail import render
from kerwen.mail.actions.copy import Copy
from kerwen.mail.actions.records import Records
from kerwen.mail.actions.sealing import EpochKeys, hand
from kerwen.mail.actions.unlock import Lease, OpenVaults, Unlocked
from kerwen.mail.actions.views import View, Views
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import record, tastes, uid_ranges
from kerwen.mail.store.mailboxes import Mailbox
from kerwen.mail.store.segment import SEEN
from kerwen.mail.store.tastes import Kept
from kerwen.mail.taste import Taste, words_of
from kerwen.storage.database import Database
from kerwen.vault.seal import Belonging

log = logging.getLogger(__name__)

KIND: Final = "mail taste"
JUNK_WORDS: Final = frozenset({"$junk", "junk"})
GOOD_WORDS: Final = frozenset({"$notjunk", "nonjunk"})
_MODEL: Final = "taste"
_MODEL_BYTES: Final = 250  # a word takes in memory
LESSONS_AT_ONCE: Final = 500
SORTED_AT_ONCE: Final = 2_000  # the newest; what is older stays where it is
_TURN: Final = 50
_DELAY_S: Final = 0.5  # lessons that come together are learned together


class _Model(msgspec.Struct, gc=False):
    kept: Kept | None
    taste: Taste


class Tastes:
    """The models of all accounts."""

    def __init__(
        self,
        db: Database,
        keys: EpochKeys,
        records: Records,
        vaults: OpenVaults,
        views: Views,
        copy: Copy,
    ) -> None:
        self._db = db
        self._keys = keys
        self._records = records
        self._vaults = vaults
        self._views = views
        self._copy = copy
        self._lessons: dict[int, tuple[Lease, dict[int, bool]]] = {}
        self._news = asyncio.Event()

    # --- lessons

    def moved(self, unlocked: Unlocked, nos: Iterable[int], source: str, target: str) -> None:
        """Messages were moved or copied between mailboxes of these special uses."""
        if source == target:
            return
        if target == "junk":
            self.teach(unlocked, nos, junk=True)
        elif source == "junk" and target != "trash":
            self.teach(unlocked, nos, junk=False)

    def flagged(self, unlocked: Unlocked, nos: Iterable[int], keywords: Iterable[str]) -> None:
        """Messages were given keywords."""
        named = {name.lower() for name in keywords}
        if named & JUNK_WORDS:
            self.teach(unlocked, nos, junk=True)
        elif named & GOOD_WORDS:
            self.teach(unlocked, nos, junk=False)

    def teach(self, unlocked: Unlocked, nos: Iterable[int], *, junk: bool) -> None:
        """Their owner says what they are. It is learned in a moment, behind the command."""
        waiting = self._lessons.get(unlocked.account_no)
        if waiting is None:
            waiting = (self._vaults.share(unlocked), {})
            self._lessons[unlocked.account_no] = waiting
        lessons = waiting[1]
        for no in nos:
            if len(lessons) >= LESSONS_AT_ONCE and no not in lessons:
                break
            lessons[no] = junk
        self._news.set()

    async def work(self) -> None:
        """Runs until it is cancelled."""
        while True:
            await self._news.wait()
            await asyncio.sleep(_DELAY_S)
            self._news.clear()
            await self.drain()

    async def drain(self) -> None:
        """Learns all that waits."""
        while self._lessons:
            account_no, (lease, lessons) = self._lessons.popitem()
            try:
                await self.learn(lease.unlocked, lessons)
            except (Refused, Unavailable) as error:
                log.warning("nothing was learned: %r", error, extra={"account": account_no})
            except Exception:
                log.exception("nothing was learned")
            finally:
                lease.close()

    def close(self) -> None:
        """Gives all leases back."""
        for lease, _ in self._lessons.values():
            lease.close()
        self._lessons.clear()

    async def learn(self, unlocked: Unlocked, lessons: dict[int, bool]) -> None:
        """Learns lessons: message → whether it is junk. `Refused`: VAULT_CLOSED."""
        while True:
            unlocked.drop(0)  # what is changed here must not be what others read
            model = await self._read(unlocked, keep=False)
            taste = model.taste
            wanted = {no: junk for no, junk in lessons.items() if taste.lesson(no) is not junk}
            wanted |= await self._good_ones(unlocked, taste, wanted)
            found = await self._records.words(unlocked, list(wanted))
            for at, (no, one) in enumerate(found.items()):
                taste.learn(no, words_of(one), junk=wanted[no])
                if at % _TURN == _TURN - 1:
                    await asyncio.sleep(0)
            if not found or await self._write(unlocked, model):
                return

    async def _good_ones(
        self, unlocked: Unlocked, taste: Taste, lessons: dict[int, bool]
    ) -> dict[int, bool]:
        """As many good messages as there is more junk: what was read and stays in INBOX. Nobody
        says of those that they are good, and without them all would look like junk."""
        lacking = taste.junk + sum(1 if junk else -1 for junk in lessons.values()) - taste.good
        if lacking <= 0:
            return {}
        view = (await self._special(unlocked.account_no)).get("inbox")
        found: dict[int, bool] = {}
        for row in reversed(view.rows if view is not None else ()):
            segment = row.segment
            for at in reversed(range(len(segment))):
                no = segment.nos[at]
                if segment.flags[at] & SEEN and no not in lessons and taste.lesson(no) is None:
                    found[no] = False
                    if len(found) >= min(lacking, LESSONS_AT_ONCE):
                        return found
        return found

    # --- sorting

    async def taste(self, accounts: Sequence[int], raw: bytes) -> dict[int, bool]:
        """`Arrive.taste`: what those think of a message whose vaults are open here."""
        found: dict[int, bool] = {}
        words: list[int] | None = None
        for account_no in accounts:
            unlocked = self._vaults.opened(account_no)
            if unlocked is None:
                continue
            known: _Model | None = unlocked.page(0, _MODEL)
            if known is None:
                try:
                    with self._vaults.share(unlocked):
                        known = await self._read(unlocked)
                except Refused:
                    continue
            taste = known.taste
            if not taste.ready:
                continue
            if words is None:
                words = words_of(render.render(raw).words)
            verdict = taste.verdict(words)
            if verdict is not None:
                found[account_no] = verdict
        return found

    async def sort(self, unlocked: Unlocked) -> int:
        """Sorts what came since the vault was open last; how many messages were moved."""
        account_no = unlocked.account_no
        async with self._db.read(single=True) as snap:
            since = await tastes.unsorted_since(snap, account_no)
        if since is None:
            return 0
        taste = (await self._read(unlocked)).taste
        views = await self._special(account_no)
        moved = looked_at = head = 0
        for use, other in (("inbox", "junk"), ("junk", "inbox")):
            view, target = views.get(use), views.get(other)
            if view is None or target is None:
                continue
            head = max(head, view.head)
            news = _unread_since(view, since, taste)
            looked_at += len(news)
            if taste.ready and news:
                moved += await self._sort(unlocked, taste, view, target.mailbox, news)
        if looked_at:
            async with self._db.write() as tx:
                await tastes.set_sorted(tx, account_no, head)
        return moved

    async def _sort(
        self, unlocked: Unlocked, taste: Taste, view: View, target: Mailbox, news: dict[int, int]
    ) -> int:
        """Moves what came to one mailbox and belongs into the other. `news`: number → UID."""
        found = await self._records.words(unlocked, list(news))
        wrong: list[int] = []
        into_junk = target.special == "junk"
        for at, (no, one) in enumerate(found.items()):
            if taste.verdict(words_of(one)) is into_junk:
                wrong.append(news[no])
            if at % _TURN == _TURN - 1:
                await asyncio.sleep(0)
        if not wrong:
            return 0
        done = await self._copy.run(
            unlocked.account_no,
            view.mailbox.mailbox_no,
            uid_ranges.of(wrong),
            target.name,
            move=True,
        )
        return len(done.nos)

    async def _special(self, account_no: int) -> dict[str, View]:
        """The views of INBOX and Junk."""
        async with self._db.read() as snap:
            every = await boxes.all_of(snap, account_no)
            return {
                one.special: await self._views.current_in(snap, account_no, one.mailbox_no)
                for one in every
                if one.special in ("inbox", "junk")
            }

    # --- the model

    async def _read(self, unlocked: Unlocked, *, keep: bool = True) -> _Model:
        account_no = unlocked.account_no
        async with self._db.read(single=True) as snap:
            kept = await tastes.get(snap, account_no)
        if kept is None:
            model = _Model(None, Taste())
            if keep:
                unlocked.keep(0, _MODEL, model, _MODEL_BYTES)
            return model
        known: _Model | None = unlocked.page(0, _MODEL)
        if known is not None and known.kept is not None and known.kept.version == kept.version:
            return known
        model = _Model(kept, await self._opened(unlocked, kept))
        if keep:
            unlocked.keep(0, _MODEL, model, _MODEL_BYTES * (len(model.taste) + 1))
        return model

    async def _opened(self, unlocked: Unlocked, kept: Kept) -> Taste:
        """The model in its box; a damaged one is begun anew. Says `VAULT_CLOSED`."""
        account_no = unlocked.account_no
        try:
            async with self._db.read() as snap:
                plain = await self._records.open(snap, unlocked, account_no, KIND, kept.box)
            return await asyncio.to_thread(Taste.decode, record.unpressed(plain))
        except Refused as refusal:
            if refusal.reason is not Reason.BOX_DAMAGED:
                raise
            log.warning("a junk model is damaged: it begins anew", extra=refusal.private)
            return Taste()

    async def _write(self, unlocked: Unlocked, model: _Model) -> bool:
        """False if another worker wrote it meanwhile: it is read and taught again."""
        account_no = unlocked.account_no
        unlocked.drop(0)
        plain = await asyncio.to_thread(lambda: record.pressed_always(model.taste.encode()))
        with hand(await self._keys.of(account_no), 1) as epoch:
            box = epoch.seal(Belonging(account_no, account_no, KIND), plain)
        async with self._db.write() as tx:
            account = await boxes.account(tx, account_no)
            if account is None:
                raise Refused(Reason.NOT_FOUND, "There is no such account")
            return await tastes.put(tx, account_no, model.kept, box, account.modseq)


def _unread_since(view: View, since: int, taste: Taste) -> dict[int, int]:
    """Unread messages that came since a MODSEQ and were no lesson: number → UID."""
    found: dict[int, int] = {}
    for row in reversed(view.rows):
        segment = row.segment
        if row.modseq <= since or max(segment.borns, default=0) <= since:
            continue
        for at in reversed(range(len(segment))):
            no = segment.nos[at]
            if (
                segment.borns[at] > since
                and not segment.flags[at] & SEEN
                and taste.lesson(no) is None
            ):
                found[no] = segment.uids[at]
                if len(found) >= SORTED_AT_ONCE:
                    return found
    return found
