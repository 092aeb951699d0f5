-- Mail. In clear: sizes, dates, flags, mailboxes, numbers and keyed tags; all else is sealed.
create table mail_accounts (
    account_no {id},
    modseq BIGINT not null,            -- the greatest ever given; drawn under this row's lock
    listed BIGINT not null,            -- MODSEQ of the newest change of the list of mailboxes
    next_mailbox BIGINT not null,
    uidvalidity BIGINT not null,       -- the last one given: rises with every mailbox
    used BIGINT not null,              -- bytes of all messages, a copy counts again
    placed BIGINT not null,            -- how many messages, copies counted
    loose BIGINT not null,             -- messages that are in no page yet
    quota BIGINT,                      -- bytes; null: the server's setting
    forgot BIGINT not null             -- what vanished at or below this MODSEQ is not known singly
);
create table mail_keywords (account_no {id}, names TEXT not null);  -- JSON; place = bit
create table mail_mailboxes (
    account_no BIGINT not null,
    mailbox_no BIGINT not null,        -- never given again in its account
    name TEXT not null,
    special TEXT not null,             -- inbox, sent, drafts, junk, trash, archive or ''
    uidvalidity BIGINT not null,
    uidnext BIGINT not null,
    modseq BIGINT not null,            -- the last that touched a message of it
    created BIGINT not null,           -- MODSEQ of its making
    changed BIGINT not null,           -- MODSEQ of the newest change of its name and the like
    messages BIGINT not null,
    unseen BIGINT not null,
    deleted BIGINT not null,           -- messages with \Deleted
    bytes BIGINT not null,
    primary key (account_no, mailbox_no)
) {without_rowid};
create unique index mail_mailboxes_name on mail_mailboxes (account_no, name);
create table mail_mailboxes_gone (
    account_no BIGINT not null, mailbox_no BIGINT not null, modseq BIGINT not null,
    primary key (account_no, mailbox_no)
) {without_rowid};
create table mail_subscriptions (      -- by name: they outlive the mailbox (RFC 9051 §6.3.7)
    account_no BIGINT not null, name TEXT not null, primary key (account_no, name)
) {without_rowid};
create table mail_metadata (           -- RFC 5464; mailbox 0: of the account
    account_no BIGINT not null, mailbox_no BIGINT not null, entry TEXT not null,
    value {blob} not null,
    primary key (account_no, mailbox_no, entry)
) {without_rowid};

-- Which messages lie in a mailbox: up to 128 of them a row, column by column (store/segment.py).
create table mail_segments (
    account_no BIGINT not null,
    mailbox_no BIGINT not null,
    first_uid BIGINT not null,
    modseq BIGINT not null,            -- the greatest in it
    columns {blob} not null,
    primary key (account_no, mailbox_no, first_uid)
) {without_rowid};
create table mail_vanished (           -- what left a mailbox: one row a deed (RFC 7162)
    account_no BIGINT not null,
    mailbox_no BIGINT not null,
    modseq BIGINT not null,
    uids {blob} not null,              -- packed, as the columns of a segment
    nos {blob} not null,               -- their message numbers
    primary key (account_no, mailbox_no, modseq)
) {without_rowid};

-- A message that came alone. When there are some, their records move into a page, their bodies
-- into a pack: a blob of many.
create table mail_loose (
    message_no {id},
    account_no BIGINT not null,
    copies BIGINT not null,            -- in how many mailboxes it lies
    blob TEXT,                         -- where its body is, if it is too large for here
    length BIGINT not null,            -- of the sealed body
    card {blob} not null,              -- sealed: what lists show
    word {blob} not null,              -- sealed: what search reads
    body {blob}                        -- sealed: the message
);
create index mail_loose_account on mail_loose (account_no, message_no);
create table mail_pages (
    page_no {id},
    account_no BIGINT not null,
    first_no BIGINT not null,          -- its messages lie between these numbers
    last_no BIGINT not null,
    held BIGINT not null,              -- messages in it, and how many of them still live
    live BIGINT not null,
    places {blob} not null,            -- where each body is (store/page.py)
    copies {blob} not null             -- in how many mailboxes each message lies
);
create index mail_pages_account on mail_pages (account_no, last_no);
create table mail_page_boxes (
    page_no BIGINT not null, kind TEXT not null, box {blob} not null,
    primary key (page_no, kind)
);
create table mail_blobs (              -- every blob that mail names
    blob TEXT primary key,
    account_no BIGINT not null,        -- 0: of the queue; -1: retired, to be removed
    used BIGINT not null               -- messages with their body in it; retired: since when
) {without_rowid};
create index mail_blobs_account on mail_blobs (account_no);
create table mail_tags (               -- keyed tags of message ids: which thread they belong to
    account_no BIGINT not null, tag BIGINT not null, thread BIGINT not null,
    primary key (account_no, tag)
) {without_rowid};
create table mail_delivered (          -- deliveries that must not happen twice
    account_no BIGINT not null, tag BIGINT not null, at_ms BIGINT not null,
    primary key (account_no, tag)
) {without_rowid};
create index mail_delivered_at on mail_delivered (at_ms);

-- Names that are no accounts: aliases, groups (several targets), and '*', who gets the rest.
create table mail_aliases (
    local TEXT not null,
    target TEXT not null,              -- a local part of ours, or an address elsewhere
    primary key (local, target)
) {without_rowid};
create index mail_aliases_target on mail_aliases (target);

-- The queue: messages for other servers, sealed with a key that is not in the database.
create table mail_queue (
    queue_no {id},
    account_no BIGINT not null,        -- whose it is; 0: the server's own
    created_ms BIGINT not null,
    expires_ms BIGINT not null,
    size BIGINT not null,
    left_over BIGINT not null,         -- recipients that wait
    blob TEXT,
    head {blob} not null,              -- sealed: the envelope's sender and options
    body {blob}                        -- sealed: the message, if it is small
);
create index mail_queue_account on mail_queue (account_no);
create table mail_queue_recipients (
    recipient_no {id},
    queue_no BIGINT not null,
    destination BIGINT not null,       -- keyed tag of the domain
    due_ms BIGINT not null,
    lease BIGINT not null,             -- until when a sender has it; 0: nobody has
    tries BIGINT not null,
    delayed BIGINT not null,           -- 1: its sender was told that it waits
    address {blob} not null,           -- sealed: the address, its DSN options, the last answer
    last_ms BIGINT not null
);
create index mail_queue_recipients_queue on mail_queue_recipients (queue_no);
create index mail_queue_recipients_due on mail_queue_recipients (due_ms, destination);
