-- What people keep here for their own clients: account data, filters, pushers, profiles.
create table account_data (
    account_no BIGINT not null,
    type TEXT not null,
    pos BIGINT not null,          -- position of the newest change
    content {blob} not null,      -- JSON, as the client wrote it
    primary key (account_no, type)
) {without_rowid};
create index account_data_pos on account_data (account_no, pos);
create table room_account_data (
    account_no BIGINT not null,
    room_no BIGINT not null,
    type TEXT not null,
    pos BIGINT not null,
    content {blob} not null,
    primary key (account_no, room_no, type)
) {without_rowid};
create index room_account_data_pos on room_account_data (account_no, pos);
create table filters (
    account_no BIGINT not null,
    filter_no BIGINT not null,
    hash {blob} not null,         -- of the source: the same filter is kept once
    source {blob} not null,
    primary key (account_no, filter_no)
) {without_rowid};
create unique index filters_hash on filters (account_no, hash);
create table pushers (
    account_no BIGINT not null,
    app_id TEXT not null,
    pushkey TEXT not null,
    kind TEXT not null,           -- http | email
    device_no BIGINT not null,    -- who made it: it goes with the device
    body {blob} not null,         -- the rest, JSON as the client is shown it
    set_ms BIGINT not null,
    primary key (account_no, app_id, pushkey)
) {without_rowid};
create index pushers_key on pushers (app_id, pushkey);
create index pushers_device on pushers (device_no);
create table profiles (
    account_no {id},
    displayname TEXT,
    folded TEXT not null default '',  -- the name as it is searched: no case, no marks
    avatar_url TEXT,
    fields {blob} not null            -- all other fields, a JSON object
);
create table openid_tokens (          -- CS #openid
    hash {blob} primary key,
    account_no BIGINT not null,
    expires_ms BIGINT not null
) {without_rowid};
create index openid_tokens_account on openid_tokens (account_no, expires_ms);
