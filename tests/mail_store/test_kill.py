"""kill -9 amid 16 senders: what was acknowledged is there once; nothing goes back.

KERWEN_KILLS says how often (the promise is fifty times).
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from kerwen.mail.store.segment import Flag
from kerwen.storage.feed import Feed
from kerwen.storage.sqlite import SqliteDatabase
from tests.mail_store.burden import ACCOUNT
from tests.mail_store.house import House, letter

KILLS = int(os.environ.get("KERWEN_KILLS", "3"))
ROOT = Path(__file__).parent.parent.parent


class Told:
    """What the processes said so far."""

    def __init__(self) -> None:
        self.there: dict[int, tuple[int, int]] = {}  # number → size, UID
        self.words: dict[str, set[int]] = {}

    def hear(self, text: bytes) -> None:
        for line in text.decode().splitlines():
            word, *rest = line.split()
            if word == "there":
                self.there[int(rest[0])] = (int(rest[1]), int(rest[2]))
            elif rest:
                self.words.setdefault(word, set()).add(int(rest[0]))

    def said(self, word: str) -> set[int]:
        return self.words.get(word, set())


def burden(folder: Path, first: int, chance: random.Random) -> bytes:
    """Runs the process, kills it amid its work, returns what it said."""
    command = [sys.executable, "-m", "tests.mail_store.burden", str(folder), str(first)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert child.stdout is not None
    wanted = chance.randrange(20, 400)
    guard = threading.Timer(30, child.kill)
    guard.start()
    lines = []
    for line in child.stdout:
        lines.append(line)
        if len(lines) == wanted:
            child.kill()
    guard.cancel()
    child.wait()
    assert len(lines) >= wanted, b"".join(lines)
    return b"".join(lines)


async def test_kill(sqlite_template: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copyfile(sqlite_template, folder / "kerwen.db")
    told, chance = Told(), random.Random(5)
    heads = []
    for kill in range(KILLS):
        told.hear(burden(folder, 10_000_000 * (kill + 1), chance))
        heads.append(await check(folder, told))
    assert heads == sorted(heads), "neither MODSEQ nor UIDNEXT nor UIDVALIDITY goes back"


async def check(folder: Path, told: Told) -> tuple[int, ...]:
    """Opens the folder as a new process would, and looks at everything."""
    feed = Feed()
    db = SqliteDatabase(folder / "kerwen.db", feed)
    house = House(db, feed, folder)
    found: dict[int, tuple[str, int, int]] = {}
    with await house.open(ACCOUNT) as lease:
        for name in ("INBOX", "Archive"):
            view = await house.view(ACCOUNT, name)
            raws = await house.mail.records.messages(lease.unlocked, list(view.nos))
            cards = await house.mail.records.cards(lease.unlocked, list(view.nos))
            assert len(cards) == len(raws) == len(view.nos)
            for place, no in enumerate(view.nos):
                raw = raws[no]
                assert isinstance(raw, bytes)
                number = int(raw.split(b"Message-ID: <m")[1].split(b"@")[0])
                assert number not in found, "there once"
                found[number] = (name, view.flags[place], view.uids[place])
                if number in told.there:
                    assert raw == letter(number, pad=told.there[number][0])
    for number, (_, uid) in told.there.items():
        if number in told.said("gone"):
            assert number not in found
        elif number not in told.said("going"):
            assert number in found, number
            name, flags, now = found[number]
            if number in told.said("moved"):
                assert name == "Archive"
            elif number not in told.said("moving"):
                assert (name, now) == ("INBOX", uid)
            if number in told.said("seen"):
                assert flags & Flag.SEEN
    listed = await house.mail.mailboxes.listing(ACCOUNT)
    inbox = next(one for one in listed.mailboxes if one.name == "INBOX")
    assert listed.account.placed == len(found)
    assert listed.account.used == sum(one.bytes for one in listed.mailboxes)
    await house.close()
    await db.close()
    return listed.account.modseq, inbox.uidnext, inbox.uidvalidity
