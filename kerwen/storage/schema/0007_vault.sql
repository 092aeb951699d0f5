-- Sealing keys. An account has one vault in use, the newest generation; older ones remain shut
-- or are opened by the recovery key. Private keys stand here wrapped only, delivery keys sealed.
create table vaults (
    account_no BIGINT not null,
    generation BIGINT not null,
    public_key {blob} not null,
    created_ms BIGINT not null,
    primary key (account_no, generation)
) {without_rowid};
create table vault_slots (
    account_no BIGINT not null,
    kind TEXT not null,           -- password, app_password, token, ...
    ref TEXT not null,            -- which of its kind
    generation BIGINT not null,
    wrapped {blob} not null,
    primary key (account_no, kind, ref, generation)
) {without_rowid};
create table vault_epochs (
    account_no BIGINT not null,
    epoch_no BIGINT not null,
    generation BIGINT not null,   -- whose public key the delivery key is sealed to
    started_ms BIGINT not null,
    sealed_key {blob} not null,
    primary key (account_no, epoch_no)
) {without_rowid};
