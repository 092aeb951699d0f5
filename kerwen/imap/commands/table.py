"""The table of commands: who does each, and what may be told before it ends."""

from __future__ import annotations

from typing import Final

from kerwen.imap.commands import (
    append,
    basic,
    fetch,
    idle,
    list,
    log_in,
    mailboxes,
    quota,
    search,
    select,
    store,
)
from kerwen.imap.commands.rule import Rule, Sync
from kerwen.imap.protocol import commands as c

RULES: Final[dict[type[c.Command], Rule]] = {
    c.Capability: Rule(basic.capability),
    c.Noop: Rule(basic.noop),
    c.Check: Rule(basic.noop),
    c.Logout: Rule(basic.logout, Sync.NONE),
    c.Id: Rule(basic.id_),
    c.Enable: Rule(basic.enable),
    c.Namespace: Rule(basic.namespace),
    c.StartTls: Rule(log_in.start_tls, Sync.NONE),
    c.Login: Rule(log_in.login, Sync.NONE),
    c.Authenticate: Rule(log_in.authenticate, Sync.NONE),
    c.Compress: Rule(log_in.compress, Sync.NONE),
    c.Select: Rule(select.select, Sync.NONE),
    c.Close: Rule(select.close, Sync.NONE),
    c.Unselect: Rule(select.unselect, Sync.NONE),
    c.Create: Rule(mailboxes.create),
    c.Delete: Rule(mailboxes.delete),
    c.Rename: Rule(mailboxes.rename),
    c.Subscribe: Rule(mailboxes.subscribe),
    c.Unsubscribe: Rule(mailboxes.unsubscribe),
    c.List: Rule(list.list_),
    c.Lsub: Rule(list.lsub),
    c.Status: Rule(list.status),
    c.Append: Rule(append.append),
    c.Replace: Rule(append.replace),
    c.Idle: Rule(idle.idle, Sync.NONE),
    c.Notify: Rule(idle.notify),
    c.GetQuota: Rule(quota.get_quota),
    c.GetQuotaRoot: Rule(quota.get_quota_root),
    c.SetQuota: Rule(quota.set_quota),
    c.GetMetadata: Rule(quota.get_metadata),
    c.SetMetadata: Rule(quota.set_metadata),
    c.Expunge: Rule(store.expunge),
    c.Fetch: Rule(fetch.fetch, Sync.SAFE),
    c.Store: Rule(store.store, Sync.SAFE),
    c.Copy: Rule(store.copy),
    c.Move: Rule(store.move),
    c.Search: Rule(search.search, Sync.SAFE),
    c.Sort: Rule(search.sort, Sync.SAFE),
    c.Thread: Rule(search.thread, Sync.SAFE),
}
