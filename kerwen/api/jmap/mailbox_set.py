"""Mailbox/set. # RFC 8621 §2.5"""

from __future__ import annotations

from typing import Any, Final

from kerwen.api.jmap import ids
from kerwen.api.jmap.changing import Setting
from kerwen.api.jmap.mailboxes import COUNTS, Tree
from kerwen.api.jmap.registry import Work, set_error
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.mailboxes import INBOX, SPECIAL
from kerwen.mail.jmap.arguments import Arguments
from kerwen.mail.jmap.errors import SetError, bad_properties
from kerwen.mail.store.mailboxes import Mailbox

_SETTABLE: Final = frozenset(("name", "parentId", "role", "sortOrder", "isSubscribed"))
_ORDER_MAX: Final = 2**31


async def set_(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Mailbox/set"""
    whole = await work.whole()
    setting = Setting(work, arguments, str(whole.head))
    removes = arguments.boolean("onDestroyRemoveEmails")
    for key, asked in _parents_first(setting):
        await _create(work, setting, key, asked)
    for key, changes in setting.update.items():
        try:
            await _update(work, key, changes)
        except SetError as error:
            setting.fail("update", key, error)
        except Refused as refusal:
            setting.fail("update", key, _of(refusal))
        else:
            setting.updated[key] = None
    await _destroy_all(work, setting, removes)
    return setting.response(str((await work.whole()).head))


def _parents_first(setting: Setting) -> list[tuple[str, dict[str, Any]]]:
    """New mailboxes in an order in which each parent comes before what is below it."""
    left = dict(setting.create)
    found: list[tuple[str, dict[str, Any]]] = []
    while left:
        some = {
            key: asked
            for key, asked in left.items()
            if not isinstance(asked.get("parentId"), str) or asked["parentId"][1:] not in left
        }
        some = some or left  # a circle: each is refused by itself
        found += some.items()
        left = {key: asked for key, asked in left.items() if key not in some}
    return found


def _of(refusal: Refused) -> SetError:
    if refusal.reason in (Reason.MAILBOX_IN_USE, Reason.BAD_MAILBOX_NAME):
        return bad_properties(["name"], refusal.public_text)
    if refusal.reason is Reason.INVALID_PARAM:
        return bad_properties(["role"], refusal.public_text)
    return set_error(refusal, ("name",))


class _Wanted:
    """What a Mailbox shall be; checked."""

    def __init__(self, work: Work, tree: Tree, told: dict[str, Any], old: Mailbox | None) -> None:
        unknown = sorted(told.keys() - _SETTABLE)
        if unknown:
            raise bad_properties(unknown[:50])
        parent: Mailbox | None = tree.parent(old) if old is not None else None
        if "parentId" in told:
            parent = self._parent(work, tree, told["parentId"])
        name = self._name(told.get("name", tree.name(old) if old is not None else None), old)
        top = parent.name + "/" if parent is not None else ""
        self.name = top + name if old is None or old.name != INBOX else INBOX
        self.role = told.get("role", (old.special or None) if old is not None else None)
        if self.role is not None and (
            not isinstance(self.role, str) or self.role not in (*SPECIAL, "inbox")
        ):
            raise bad_properties(["role"])
        if (self.role == "inbox") != (old is not None and old.special == "inbox"):
            raise bad_properties(["role"], "There is one inbox")
        self.order = told.get("sortOrder")
        if self.order is not None and (
            type(self.order) is not int or not 0 <= self.order < _ORDER_MAX
        ):
            raise bad_properties(["sortOrder"])
        self.subscribed = told.get("isSubscribed")
        if self.subscribed not in (None, True, False):
            raise bad_properties(["isSubscribed"])

    @staticmethod
    def _parent(work: Work, tree: Tree, told: Any) -> Mailbox | None:
        if told is None:
            return None
        number = ids.mailbox_no(work.batch.id_of(told))
        found = tree.whole.mailboxes.get(number or 0)
        if found is None:
            raise bad_properties(["parentId"], "There is no such mailbox")
        return found

    @staticmethod
    def _name(name: Any, old: Mailbox | None) -> str:
        if old is not None and old.name == INBOX:
            if name != "Inbox":
                raise bad_properties(["name"], "The inbox keeps its name")
            return INBOX
        if not isinstance(name, str) or not name or "/" in name or not name.strip():
            raise bad_properties(["name"], "A name is a text without /")
        return name


async def _create(work: Work, setting: Setting, key: str, asked: dict[str, Any]) -> None:
    try:
        tree = Tree(await work.whole())
        wanted = _Wanted(work, tree, asked, None)
        made = await work.deeds.mailboxes.create(work.account_no, wanted.name, wanted.role or "")
        if wanted.subscribed:
            await work.deeds.mailboxes.subscribe(work.account_no, made.name)
        if wanted.order is not None:
            await work.deeds.mailboxes.set_order(work.account_no, made.mailbox_no, wanted.order)
    except SetError as error:
        setting.fail("create", key, error)
        return
    except Refused as refusal:
        setting.fail("create", key, _of(refusal))
        return
    tree = Tree(await work.whole())
    mailbox = tree.whole.mailboxes.get(made.mailbox_no, made)
    # what the server has set, and what the client did not say
    names = frozenset((*COUNTS, "myRights", "sortOrder", "isSubscribed", "role", "parentId"))
    names = frozenset(name for name in names if name not in asked)
    told = tree.told(mailbox, names) if made.mailbox_no in tree.whole.mailboxes else {}
    setting.made(key, ids.mailbox_id(made.mailbox_no), told)


async def _update(work: Work, key: str, changes: dict[str, Any]) -> None:
    whole = await work.whole()
    one = whole.mailboxes.get(ids.mailbox_no(key) or 0)
    if one is None:
        raise SetError("notFound")
    wanted = _Wanted(work, Tree(whole), changes, one)
    boxes, account_no = work.deeds.mailboxes, work.account_no
    if wanted.name != one.name:
        if wanted.name.startswith(one.name + "/"):
            raise bad_properties(["parentId"], "It cannot be below itself")
        await boxes.rename(account_no, one.name, wanted.name)
    if (wanted.role or "") != one.special:
        await boxes.set_special(account_no, wanted.name, wanted.role or "")
    if wanted.subscribed is not None and wanted.subscribed != (one.name in whole.subscribed):
        await boxes.subscribe(account_no, wanted.name, wanted.subscribed)
    if wanted.order is not None:
        await boxes.set_order(account_no, one.mailbox_no, wanted.order)


async def _destroy_all(work: Work, setting: Setting, removes: bool) -> None:
    """What is below others goes first."""

    def depth(key: str) -> int:
        one = whole.mailboxes.get(ids.mailbox_no(key) or 0)
        return -one.name.count("/") if one is not None else 0

    whole = await work.whole()
    for key in sorted(setting.destroy, key=depth):
        whole = await work.whole()
        one = whole.mailboxes.get(ids.mailbox_no(key) or 0)
        try:
            if one is None:
                raise SetError("notFound")
            if any(other.name.startswith(one.name + "/") for other in whole.mailboxes.values()):
                raise SetError("mailboxHasChild")
            if one.messages > one.deleted and not removes:
                raise SetError("mailboxHasEmail")
            await work.deeds.mailboxes.delete(work.account_no, one.name)
        except SetError as error:
            setting.fail("destroy", key, error)
        except Refused as refusal:
            setting.fail("destroy", key, _of(refusal))
        else:
            setting.destroyed.append(key)
