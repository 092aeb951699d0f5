-- Reports of other servers about our domain: what came in its name (DMARC), how TLS went.
create table mail_reports (
    report_no {id},
    kind TEXT not null,                -- dmarc or tls
    reporter TEXT not null,            -- who made it, by its own words
    name TEXT not null,                -- its id there
    begin_s BIGINT not null,           -- which time it is about
    end_s BIGINT not null,
    at_ms BIGINT not null,
    proved BIGINT not null,            -- 1: the message that brought it was proved (SPF, DMARC)
    good BIGINT not null,              -- messages or sessions that went well, and the others
    bad BIGINT not null,
    detail {blob} not null             -- JSON: the rows that did not go well
);
create unique index mail_reports_name on mail_reports (kind, reporter, name);
create index mail_reports_at on mail_reports (at_ms);

-- OpenPGP keys that accounts publish (WKD); they are public.
create table mail_open_keys (
    account_no {id},
    hash TEXT not null,                -- of the local part, as WKD asks for it
    at_ms BIGINT not null,
    keys {blob} not null
);
create unique index mail_open_keys_hash on mail_open_keys (hash);

-- Addresses that hide an account's own.
create table mail_masks (
    local TEXT primary key,
    account_no BIGINT not null,
    made_ms BIGINT not null,
    enabled BIGINT not null            -- 0: mail to it is refused
) {without_rowid};
create index mail_masks_account on mail_masks (account_no);

-- Mailing lists: an address whose mail goes to its members.
create table mail_lists (
    local TEXT primary key,
    title TEXT not null,
    owner TEXT not null,               -- a local part here: who is told of trouble
    posting TEXT not null,             -- who may write to it: members, owner or anyone
    made_ms BIGINT not null
) {without_rowid};
create table mail_list_members (
    local TEXT not null,
    address TEXT not null,
    joined_ms BIGINT not null,
    primary key (local, address)
) {without_rowid};
