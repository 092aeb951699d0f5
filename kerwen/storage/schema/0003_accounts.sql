-- Accounts, their devices and the secrets that stand for them. Secrets are kept as hashes only.
create table accounts (
    account_no {id},                         -- the user's number in `users`
    localpart TEXT not null unique,          -- the row outlives the account: a name is given once
    kind TEXT not null default 'person',     -- person | bot
    created_ms BIGINT not null,
    admin BIGINT not null default 0,
    locked BIGINT not null default 0,
    suspended BIGINT not null default 0,
    deactivated_ms BIGINT not null default 0,
    erased BIGINT not null default 0
);
create table passwords (
    account_no {id},
    salt {blob} not null,
    memory_kib BIGINT not null,
    passes BIGINT not null,
    lanes BIGINT not null,
    proof_hash {blob} not null,
    set_ms BIGINT not null
);
create table password_resets (               -- begun by an administrator, not in force yet
    account_no {id},
    salt {blob} not null,
    memory_kib BIGINT not null,
    passes BIGINT not null,
    lanes BIGINT not null,
    proof_hash {blob} not null,
    begun_ms BIGINT not null,
    begun_by BIGINT not null,                -- the administrator's account; 0: the command line
    effect_ms BIGINT not null
);
create index password_resets_effect on password_resets (effect_ms);
create table devices (
    device_no {id},
    account_no BIGINT not null,
    device_id TEXT not null,
    display_name TEXT,
    created_ms BIGINT not null,
    seen_ms BIGINT not null,
    seen_address TEXT not null default '',
    unique (account_no, device_id)
);
create table access_tokens (
    token_no {id},
    hash {blob} not null unique,
    account_no BIGINT not null,
    device_no BIGINT not null,
    refresh_no BIGINT not null default 0,    -- the refresh token given with it
    retires BIGINT not null default 0,       -- the refresh token whose end its first use is
    created_ms BIGINT not null,
    expires_ms BIGINT not null default 0     -- 0: never
);
create index access_tokens_device on access_tokens (device_no);
create index access_tokens_account on access_tokens (account_no);
create index access_tokens_refresh on access_tokens (refresh_no) where refresh_no > 0;
create index access_tokens_retires on access_tokens (retires) where retires > 0;
create index access_tokens_expiry on access_tokens (expires_ms)
    where refresh_no = 0 and expires_ms > 0;
create table refresh_tokens (
    token_no {id},
    hash {blob} not null unique,
    account_no BIGINT not null,
    device_no BIGINT not null,
    retires BIGINT not null default 0,
    created_ms BIGINT not null,
    expires_ms BIGINT not null default 0
);
create index refresh_tokens_device on refresh_tokens (device_no);
create index refresh_tokens_retires on refresh_tokens (retires) where retires > 0;
create index refresh_tokens_expiry on refresh_tokens (expires_ms) where expires_ms > 0;
create table login_tokens (                  -- CS #mlogintoken: one log-in each, minutes of life
    token_no {id},
    hash {blob} not null unique,
    account_no BIGINT not null,
    expires_ms BIGINT not null
);
create index login_tokens_account on login_tokens (account_no);
create index login_tokens_expiry on login_tokens (expires_ms);
create table app_passwords (
    app_no {id},
    hash {blob} not null unique,
    account_no BIGINT not null,
    name TEXT not null,
    created_ms BIGINT not null,
    used_ms BIGINT not null default 0
);
create index app_passwords_account on app_passwords (account_no);
create table registration_tokens (           -- CS #token-authenticated-registration
    token TEXT primary key,
    uses BIGINT not null default 0,
    uses_max BIGINT not null default 0,      -- 0: any number
    expires_ms BIGINT not null default 0,    -- 0: never
    created_ms BIGINT not null,
    created_by BIGINT not null default 0
);
