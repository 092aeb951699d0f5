"""One client's conversation: what it has enabled, which mailbox it has open, what it was told."""

# RFC 9051 §3, §5.2

from __future__ import annotations

import logging
from array import array
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from kerwen.base.errors import Refused, Unavailable
from kerwen.imap import replies
from kerwen.imap.commands.rule import Sync
from kerwen.imap.commands.table import RULES
from kerwen.imap.deeds import Deeds
from kerwen.imap.flag_names import NO_NAMES, FlagNames
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol import responses
from kerwen.imap.protocol.sequence import STAR, SequenceSet, places, resolved
from kerwen.imap.protocol.stages import Stage, after
from kerwen.imap.replies import Ending
from kerwen.imap.updates import Teller, differences
from kerwen.mail.actions.sign_in import SignedIn
from kerwen.mail.actions.unlock import Unlocked
from kerwen.mail.actions.views import View
from kerwen.mail.actions.watch import MailWatch

if TYPE_CHECKING:
    from kerwen.imap.notify import Notifier

log = logging.getLogger(__name__)

BAD_IN_A_ROW: Final = 20


class Line(Protocol):
    """The connection, as a session needs it."""

    address: str
    compressed: bool

    async def failed(self) -> None:
        """Whoever guesses waits."""

    @property
    def may_log_in(self) -> bool:
        """Whether a password may be shown on this connection."""

    @property
    def can_start_tls(self) -> bool:
        """Whether STARTTLS is to be had."""

    def say(self, data: bytes) -> None:
        """Adds to what will be sent."""

    async def flush(self) -> None:
        """Sends; waits while the client does not read. Raises `ConnectionError`."""

    def expect_done(self) -> None:
        """The next line is that which ends IDLE."""

    async def ask(self, challenge: bytes) -> c.Answer:
        """Sends a challenge and waits for the answer."""

    async def start_tls(self, said: bytes) -> None:
        """Says so and begins TLS."""

    async def compress(self, said: bytes) -> bool:
        """Says so and begins to compress; false if it cannot begin now."""

    def set_utf8(self) -> None:
        """Names of mailboxes are UTF-8 from now on."""

    def wake(self) -> None:
        """There may be something to tell unasked."""

    def hang_up(self, said: bytes = b"") -> None:
        """Ends the connection after what was said."""


class Selected:
    """The mailbox that is open, as the client was told of it."""

    __slots__ = ("name", "read_only", "saved", "view")

    def __init__(self, name: str, view: View, *, read_only: bool) -> None:
        self.name = name
        self.view = view
        self.read_only = read_only
        self.saved: array[int] | None = None  # UIDs of `$` (RFC 5182)


class Session:
    """What a connection means. Handlers of commands work on it."""

    __slots__ = (
        "bad", "condstore", "deeds", "failures", "flag_names", "idling", "line", "notifier",
        "qresync", "rev2", "selected", "signed", "stage", "utf8", "watch",
    )  # fmt: skip

    def __init__(self, deeds: Deeds, line: Line) -> None:
        self.deeds = deeds
        self.line = line
        self.stage = Stage.GREETED
        self.signed: SignedIn | None = None
        self.watch: MailWatch | None = None
        self.selected: Selected | None = None
        self.flag_names = NO_NAMES
        self.condstore = self.qresync = self.utf8 = self.rev2 = False
        self.idling: bytes | None = None  # the tag of IDLE
        self.notifier: Notifier | None = None
        self.bad = 0
        self.failures = 0

    # --- who

    @property
    def account_no(self) -> int:
        """The account that is logged in."""
        assert self.signed is not None, "the stage says so"
        return self.signed.account_no

    @property
    def unlocked(self) -> Unlocked:
        """Its open vault."""
        assert self.signed is not None, "the stage says so"
        unlocked = self.signed.unlocked
        unlocked.used_s = monotonic()
        return unlocked

    @property
    def mailbox(self) -> Selected:
        """The mailbox that is open."""
        assert self.selected is not None, "the stage says so"
        return self.selected

    def enter(self, signed: SignedIn) -> None:
        """Somebody logged in."""
        self.signed = signed
        signed.on_end = self._thrown_out
        self.watch = self.deeds.watches.open(signed.account_no)
        self.watch.call = self.line.wake
        self.stage = Stage.LOGGED_IN

    def _thrown_out(self) -> None:
        self.line.hang_up(responses.untagged("BYE", "The session has ended", b"EXPIRED"))

    def close(self) -> None:
        """The connection is gone: gives back what it holds."""
        self.selected = self.notifier = None
        if self.watch is not None:
            self.watch.close()
            self.watch = None
        if self.signed is not None:
            self.signed.close()
            self.signed = None
        self.stage = Stage.ENDED

    def open(self, name: str, view: View, *, read_only: bool) -> None:
        """A mailbox is open now."""
        self.selected = Selected(name, view, read_only=read_only)
        self.stage = Stage.SELECTED

    def leave(self) -> None:
        """No mailbox is open any more."""
        self.selected = None
        self.stage = Stage.LOGGED_IN

    # --- items of the parser

    async def take(self, item: c.Item) -> None:
        """Does what the client said, and answers. Raises `ConnectionError` only."""
        if isinstance(item, c.Command):
            await self._command(item)
        elif isinstance(item, c.Malformed):
            self._malformed(item)
        elif isinstance(item, c.Continue):
            self.line.say(responses.CONTINUE)
        elif isinstance(item, c.Done):
            await self._done(item)
        await self.line.flush()

    async def _command(self, command: c.Command) -> None:
        self.bad = 0
        rule = RULES[type(command)]
        try:
            await self._catch_up(command)
            ending = await rule.handler(self, command)
            if ending is None:
                return  # IDLE goes on; or all is said already
            if ending.status == "OK":
                self.stage = after(type(command), self.stage)
            await self.sync(rule.sync_of(command))
        except Refused as refusal:
            ending = self.refused(refusal)
        except Unavailable as error:
            log.warning("unavailable: %s", error.reason.value, extra=error.private)
            ending = replies.unavailability(error)
        except ConnectionError:
            raise
        except Exception:
            log.exception("a command broke: %s", type(command).__name__)
            ending = replies.BUG
        self.line.say(responses.tagged(command.tag, ending.status, ending.text, ending.code))
        if self.stage is Stage.ENDED:
            self.line.hang_up()

    async def _catch_up(self, command: c.Command) -> None:
        """A client that names UIDs which it was not told of here (another connection was) means
        the mailbox as it is now."""
        selected = self.selected
        if selected is None or not getattr(command, "uid", False):
            return
        numbers = getattr(command, "numbers", None)
        if numbers is None or not numbers.is_static:
            return
        if max(high for _, high in numbers.ranges) >= selected.view.mailbox.uidnext:
            await self.sync(Sync.FULL)

    def refused(self, refusal: Refused) -> Ending:
        """The answer to what was refused."""
        if refusal.private:
            log.info("refused: %s", refusal.reason.value, extra={"why": refusal.private})
        return replies.refusal(refusal)

    def _malformed(self, item: c.Malformed) -> None:
        if item.tag is None:
            self.line.say(responses.untagged(item.status, item.text, item.code))
        else:
            self.line.say(responses.tagged(item.tag, item.status, item.text, item.code))
        self.bad += 1
        if item.fatal or self.bad >= BAD_IN_A_ROW:
            self.line.hang_up(responses.untagged("BYE", "Too much that is no IMAP"))

    async def _done(self, item: c.Done) -> None:
        tag, self.idling = self.idling, None
        if tag is None:
            return
        await self.sync(Sync.FULL)
        if item.good:
            self.line.say(responses.tagged(tag, "OK", "IDLE completed"))
        else:
            self.line.say(responses.tagged(tag, "BAD", "DONE was expected"))

    # --- what changes meanwhile

    @property
    def tells_unasked(self) -> bool:
        """Whether the client wants to hear of changes when it said nothing."""
        return self.idling is not None or self.notifier is not None

    async def changed(self) -> None:
        """Something may have changed: tells a client that idles or asked to be notified."""
        try:
            if self.notifier is not None:
                await self.notifier.tell(self)
            if self.idling is not None or (
                self.notifier is not None and self.notifier.selected_at_once
            ):
                await self.sync(Sync.FULL)
        except (Refused, Unavailable) as error:
            log.info("cannot tell changes: %r", error)
        await self.line.flush()

    async def sync(
        self,
        how: Sync,
        quiet: int = 0,
        mute: AbstractSet[int] = frozenset(),
    ) -> None:
        """Tells the client what changed in its mailbox. It set flags itself with .SILENT under the
        MODSEQ `quiet`; those of the UIDs in `mute` it is told in another way.

        With `Sync.SAFE` nothing is told while a message is gone, since that would change the
        sequence numbers of a command under way (RFC 9051 §7.5.1).
        """
        selected = self.selected
        if selected is None or how is Sync.NONE or self.watch is None:
            return
        old = selected.view
        if self.watch.head <= old.head:
            return
        try:
            new = await self.deeds.views.current(self.account_no, old.mailbox.mailbox_no)
        except Refused:
            said = responses.untagged("BYE", "The mailbox was deleted", b"NONEXISTENT")
            self.line.hang_up(said)
            return
        if new is not old:
            await self._tell(selected, old, new, how, quiet, mute)

    async def _tell(
        self,
        selected: Selected,
        old: View,
        new: View,
        how: Sync,
        quiet: int,
        mute: AbstractSet[int],
    ) -> None:
        found = differences(old, new, 0 if self.condstore else quiet)
        if found.gone and how is not Sync.FULL:
            return
        selected.view = new
        if new.keywords is not None:
            await self.learn_keywords(new)
        teller = self.teller()
        self.line.say(teller.expunged(found))
        if found.added:
            self.line.say(responses.exists(len(new)))
            if self.notifier is not None:
                await self.notifier.arrived(self, new, found.added)
        changed = found.changed
        if mute:
            changed = [at for at in changed if new.uids[at] not in mute]
        if changed:
            self.line.say(teller.flags(new, changed, quiet))

    def teller(self) -> Teller:
        """How this client is told of changes."""
        return Teller(self.flag_names.render, modseq=self.condstore, vanished=self.qresync)

    async def learn_keywords(self, view: View) -> None:
        """Knows the names of the keywords in a view; new ones are told with FLAGS."""
        keywords = view.keywords
        if keywords is None or not any(keywords):
            return
        if max(keywords) < 1 << len(self.flag_names.known):
            return
        self.flag_names = FlagNames(await self.deeds.keywords(self.account_no))
        if self.selected is not None and self.selected.view is view:
            self.line.say(responses.flags(self.flag_names.all()))

    # --- numbers

    def places_of(self, numbers: SequenceSet, *, uid: bool) -> Sequence[int]:
        """Where the messages that a set means stand in the view; unknown numbers mean nothing."""
        view = self.mailbox.view
        uids = view.uids
        if numbers.saved:
            saved = self.mailbox.saved
            ranges: Sequence[tuple[int, int]] = [(one, one) for one in saved or ()]
            return [at for some in places(ranges, uids) for at in some]
        if uid:
            ranges = resolved(numbers.ranges, uids[-1] if len(uids) else 1)
            found = places(ranges, uids)
            return found[0] if len(found) == 1 else [at for some in found for at in some]
        count = len(uids)
        ranges = resolved(numbers.ranges, count) if count else ()
        if len(ranges) == 1:
            return range(max(ranges[0][0], 1) - 1, min(ranges[0][1], count))
        return [at for low, high in ranges for at in range(max(low, 1) - 1, min(high, count))]

    def numbers_fit(self, numbers: SequenceSet) -> bool:
        """Whether every sequence number is one of a message; in an empty mailbox `*` is none.

        # RFC 9051 §9, `seq-number`: BAD, also for `*` if the mailbox is empty
        """
        count = len(self.mailbox.view)
        return numbers.saved or all(
            one <= count or (one == STAR and count > 0) for pair in numbers.ranges for one in pair
        )
