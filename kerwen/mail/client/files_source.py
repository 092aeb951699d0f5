"""Messages from files of this machine: an mbox, a Maildir, archives of either and of `.eml` files
(Takeout's zip, our own export). Read as they come; nothing is unpacked to the disk."""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Final

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.mail import mbox
from kerwen.mail.flags import System
from kerwen.mail.mbox import Found, MboxSplitter, NotMbox

_PIECE: Final = 1 << 20
_MEMBERS_MAX: Final = 5_000_000
_OURS: Final = re.compile(r"8-mail/(\d{8})/(0-about\.json|(\d{10})-([A-Z]*)\.eml)")
_LETTERS: Final = {
    "S": System.SEEN, "A": System.ANSWERED, "F": System.FLAGGED, "T": System.DELETED,
    "D": System.DRAFT,
}  # fmt: skip


class Counts:
    """What could not be taken."""

    def __init__(self) -> None:
        self.too_long = 0
        self.unknown = 0


def messages(path: Path, folder: str, counts: Counts) -> Iterator[Found]:
    """Every message of a file or directory. `folder` is for what names none. `Refused` where
    nothing of it is mail; `OSError`."""
    if path.is_dir():
        yield from _maildir(path, folder, counts)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist()[:_MEMBERS_MAX]:
                if not info.is_dir():
                    with archive.open(info) as file:
                        yield from _member(info.filename, file, folder, counts)
    elif tarfile.is_tarfile(path):
        yield from _tar(path, folder, counts)
    else:
        with path.open("rb") as file:
            yield from _mbox(file, folder, counts)


def _mbox(file: IO[bytes], folder: str, counts: Counts) -> Iterator[Found]:
    splitter = MboxSplitter(folder)
    try:
        while piece := file.read(_PIECE):
            yield from splitter.feed(piece)
        yield from splitter.end()
    except NotMbox as error:
        raise Refused(Reason.MALFORMED_MESSAGE, f"This is no mbox: {error}") from None
    counts.too_long += splitter.too_long


def _maildir(path: Path, folder: str, counts: Counts) -> Iterator[Found]:
    boxes = [path, *sorted(p for p in path.iterdir() if p.is_dir() and p.name.startswith("."))]
    if not any((box / "cur").is_dir() for box in boxes):
        raise Refused(Reason.MALFORMED_MESSAGE, "This is no Maildir: it has no `cur`")
    for box in boxes:
        name = folder if box == path else mbox.maildir_folder(box.name)
        for part in ("cur", "new"):
            if not (box / part).is_dir():
                continue
            for file in sorted((box / part).iterdir(), key=lambda p: p.name):
                if not file.is_file() or file.is_symlink():
                    continue
                stat = file.stat()
                if stat.st_size > limits.MESSAGE_BYTES_MAX:
                    counts.too_long += 1
                    continue
                raw = mbox.crlf(file.read_bytes())
                flags = mbox.maildir_flags(file.name)
                yield Found(name, raw, flags, (), int(stat.st_mtime))


def _tar(path: Path, folder: str, counts: Counts) -> Iterator[Found]:
    names: dict[str, str] = {}  # of our own export: mailboxes by their numbers
    with tarfile.open(path, "r|*") as archive:
        for at, info in enumerate(archive):
            archive.members = []  # type: ignore[attr-defined]  # else it keeps every one
            if at >= _MEMBERS_MAX or not info.isfile():
                continue
            file = archive.extractfile(info)
            if file is None:
                continue
            ours = _OURS.fullmatch(info.name)
            if ours is None:
                yield from _member(info.name, file, folder, counts, int(info.mtime))
            elif ours[2] == "0-about.json":
                names[ours[1]] = _own_folder(file.read(_PIECE))
            else:
                yield from _own(file, names.get(ours[1], folder), ours[4], info, counts)


def _own_folder(about: bytes) -> str:
    """Where a mailbox of our own export comes."""
    try:
        told = json.loads(about)
        special, name = str(told["special"]), str(told["name"])
    except (ValueError, KeyError, TypeError):
        return ""
    if special == "inbox":
        return ""
    return "\\" + special if special else name


def _own(
    file: IO[bytes], folder: str, letters: str, info: tarfile.TarInfo, counts: Counts
) -> Iterator[Found]:
    raw = file.read(limits.MESSAGE_BYTES_MAX + 1)
    if len(raw) > limits.MESSAGE_BYTES_MAX:
        counts.too_long += 1
        return
    flags = sum(flag for letter, flag in _LETTERS.items() if letter in letters)
    named = tuple(info.pax_headers.get("KERWEN.keywords", "").split())
    yield Found(folder, raw, flags, named, int(info.mtime))


def _member(
    name: str, file: IO[bytes], folder: str, counts: Counts, date_s: int | None = None
) -> Iterator[Found]:
    path = PurePosixPath(name)
    if path.suffix.lower() == ".mbox" or path.name.lower() == "mbox":
        inner = mbox.folder_of(path.stem, "", ()) if path.suffix else folder
        if path.stem.lower().startswith(("all mail", "inbox")):
            inner = folder
        try:
            yield from _mbox(file, inner, counts)
        except Refused:
            counts.unknown += 1
        return
    in_maildir = path.parent.name in ("cur", "new")
    if path.suffix.lower() != ".eml" and not in_maildir:
        counts.unknown += 1
        return
    raw = file.read(limits.MESSAGE_BYTES_MAX + 1)
    if len(raw) > limits.MESSAGE_BYTES_MAX:
        counts.too_long += 1
        return
    flags = mbox.maildir_flags(path.name) if in_maildir else 0
    above = path.parent.parent.name if in_maildir else ""
    inner = mbox.maildir_folder(above) if above.startswith(".") else folder
    yield Found(inner, mbox.crlf(raw), flags, (), date_s)
