-- The OAuth 2.0 API: clients, what was allowed to them, and browsers that are signed in.
-- Secrets are kept as hashes only.
create table oauth_clients (
    client_no {id},
    client_id TEXT not null unique,          -- drawn from the metadata: the same client, the same id
    metadata TEXT not null,                  -- JSON, what was taken of it
    registered_ms BIGINT not null,           -- the last time
    used_ms BIGINT not null default 0        -- last allowed something; 0: never
);
create index oauth_clients_idle on oauth_clients (used_ms, registered_ms);
create table oauth_codes (                   -- RFC 6749 §4.1
    code_no {id},
    hash {blob} not null unique,
    account_no BIGINT not null,
    client_no BIGINT not null,
    device_id TEXT not null,
    scope TEXT not null,
    redirect_uri TEXT not null,
    challenge TEXT not null,                 -- RFC 7636 §4.2, S256
    expires_ms BIGINT not null,
    device_no BIGINT not null default 0      -- whose tokens it was exchanged for; 0: not yet
);
create index oauth_codes_account on oauth_codes (account_no);
create index oauth_codes_expiry on oauth_codes (expires_ms);
create table oauth_device_codes (            -- RFC 8628
    code_no {id},
    hash {blob} not null unique,
    user_code TEXT not null unique,
    public_key {blob} not null,              -- of a key that the device code gives
    client_no BIGINT not null,
    device_id TEXT not null,
    scope TEXT not null,
    expires_ms BIGINT not null,
    interval_ms BIGINT not null,
    polled_ms BIGINT not null default 0,
    state TEXT not null default 'asked',     -- asked | allowed | denied
    account_no BIGINT not null default 0,    -- who allowed it
    box {blob}                               -- the key of the vault's slot, for the device code alone
);
create index oauth_device_codes_expiry on oauth_device_codes (expires_ms);
create index oauth_device_codes_account on oauth_device_codes (account_no) where account_no > 0;
create table oauth_sessions (                -- devices whose tokens an OAuth client holds
    device_no {id},
    client_no BIGINT not null,
    scope TEXT not null
);
create index oauth_sessions_client on oauth_sessions (client_no);
create table spent_refresh_tokens (          -- of OAuth clients: whoever shows one again stole it
    hash {blob} primary key,
    account_no BIGINT not null,
    device_no BIGINT not null,
    spent_ms BIGINT not null
) {without_rowid};
create index spent_refresh_tokens_time on spent_refresh_tokens (spent_ms);
create index spent_refresh_tokens_device on spent_refresh_tokens (device_no);
create table browser_sessions (
    session_no {id},
    hash {blob} not null unique,
    account_no BIGINT not null,
    expires_ms BIGINT not null,
    second_due BIGINT not null default 0     -- the password was right, the second factor is awaited
);
create index browser_sessions_account on browser_sessions (account_no);
create index browser_sessions_expiry on browser_sessions (expires_ms);
create table key_resets (                    -- CS #oauth-authentication: new cross-signing keys allowed
    account_no {id},
    until_ms BIGINT not null
);
