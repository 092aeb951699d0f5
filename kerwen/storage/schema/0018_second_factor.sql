-- Second factors of accounts, and what stands in for a lost one.
create table second_factors (
    factor_no {id},
    account_no BIGINT not null,
    kind TEXT not null,                      -- totp | passkey
    name TEXT not null,
    created_ms BIGINT not null,
    used_ms BIGINT not null default 0,
    generation BIGINT not null default 0,    -- the vault that a TOTP secret is sealed to
    secret {blob} not null,                  -- totp: the sealed secret; passkey: its public key
    credential_id {blob},                    -- passkeys only
    counter BIGINT not null default 0,       -- totp: the last step used; passkey: its counter
    opens_vault BIGINT not null default 0    -- 1: the passkey has a slot of the vault
);
create index second_factors_account on second_factors (account_no);
create unique index second_factors_credential on second_factors (credential_id);
create table recovery_codes (                -- each is good once; hashes only
    account_no BIGINT not null,
    hash {blob} not null,
    primary key (account_no, hash)
) {without_rowid};
create table code_failures (                 -- wrong codes in a row, and the wait for them
    account_no {id},
    failures BIGINT not null,
    until_ms BIGINT not null
);
create table second_factor_resets (          -- begun by an administrator, not in force yet
    account_no {id},
    begun_ms BIGINT not null,
    begun_by BIGINT not null,                -- the administrator's account; 0: the command line
    effect_ms BIGINT not null
);
create index second_factor_resets_effect on second_factor_resets (effect_ms);
