-- JMAP. What left is known by time, and by its threads, so that nobody who was away for less than a
-- month must start over.
alter table mail_vanished add column at_s BIGINT not null default 0;
alter table mail_vanished add column threads {blob};  -- of the messages, in the order of `nos`
create index mail_vanished_account on mail_vanished (account_no, modseq);
create table mail_orders (             -- in which order clients show mailboxes
    account_no BIGINT not null, mailbox_no BIGINT not null, sort_order BIGINT not null,
    primary key (account_no, mailbox_no)
) {without_rowid};
create table mail_uploads (            -- files that were uploaded and are not yet in a message
    upload_no {id},
    account_no BIGINT not null,
    created_ms BIGINT not null,
    size BIGINT not null,
    type TEXT not null,
    blob TEXT,                         -- where it is, if it is too large for here
    box {blob}                         -- sealed: the file
);
create index mail_uploads_account on mail_uploads (account_no);
create index mail_uploads_created on mail_uploads (created_ms);
create table mail_objects (            -- small things of an account, sealed: identities and the like
    account_no BIGINT not null,
    kind TEXT not null,
    object_no BIGINT not null,
    created BIGINT not null,           -- MODSEQs
    changed BIGINT not null,
    gone BIGINT not null,              -- since when (seconds); 0: it is there
    box {blob},
    primary key (account_no, kind, object_no)
) {without_rowid};
create table mail_submissions (        -- what was sent by JMAP
    account_no BIGINT not null,
    submission_no BIGINT not null,
    created BIGINT not null,           -- MODSEQs
    changed BIGINT not null,
    gone BIGINT not null,              -- since when (seconds); 0: it is there
    status BIGINT not null,            -- 0 pending, 1 final, 2 canceled
    send_ms BIGINT not null,
    queue_no BIGINT not null,          -- in the queue as; 0: it was sent at once
    box {blob},                        -- sealed: envelope, identity, Email
    primary key (account_no, submission_no)
) {without_rowid};
create index mail_submissions_due on mail_submissions (status, send_ms);
