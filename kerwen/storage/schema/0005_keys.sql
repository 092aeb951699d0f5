-- End-to-end encryption, the server's part: public keys, sealed backups, messages to devices.
-- `body` is JSON that was decoded, checked and encoded again, ready to be spliced into answers.
create table device_keys (
    device_no {id},
    account_no BIGINT not null,
    device_id TEXT not null,
    body {blob} not null                     -- canonical, without `unsigned`
);
create index device_keys_account on device_keys (account_no);
create table one_time_keys (                 -- a key that was given stays a while, as spent
    device_no BIGINT not null,
    algorithm TEXT not null,
    batch BIGINT not null,                   -- order of uploads; spent: 2^60 + ms of the claim
    key_id TEXT not null,                    -- unique with device and algorithm: uploads see to it
    body {blob} not null,
    primary key (device_no, algorithm, batch, key_id)
) {without_rowid};
create table fallback_keys (
    device_no BIGINT not null,
    algorithm TEXT not null,
    key_id TEXT not null,
    used BIGINT not null default 0,
    body {blob} not null,
    primary key (device_no, algorithm)
) {without_rowid};
create table cross_signing_keys (            -- of our users and, once we know them, of others
    user_no BIGINT not null,
    usage TEXT not null,                     -- master | self_signing | user_signing
    public_key TEXT not null,                -- unpadded Base64, as its owner wrote it
    body {blob} not null,                    -- with its own user's signatures of the upload
    primary key (user_no, usage)
) {without_rowid};
create table key_signatures (                -- given later, by /keys/signatures/upload
    user_no BIGINT not null,                 -- whose key is signed
    target TEXT not null,                    -- a device id, or a master key's public key
    signer_no BIGINT not null,
    key_id TEXT not null,                    -- ed25519:…, the signer's key
    signature TEXT not null,
    primary key (user_no, target, signer_no, key_id)
) {without_rowid};
create index key_signatures_signer on key_signatures (signer_no, key_id);
create table device_lists (                  -- newest change of what others see of a user's keys
    user_no {id},
    pos BIGINT not null
);
create index device_lists_pos on device_lists (pos);
create table signature_lists (               -- newest signature of a user that only they see
    signer_no BIGINT not null,
    user_no BIGINT not null,                 -- whose key was signed
    pos BIGINT not null,
    primary key (signer_no, user_no)
) {without_rowid};
create index signature_lists_pos on signature_lists (signer_no, pos);
create table to_device (
    device_no BIGINT not null,
    pos BIGINT not null,
    n BIGINT not null,                       -- order within one position
    body {blob} not null,                    -- the whole event
    primary key (device_no, pos, n)
);
create table to_device_staged (              -- a large transaction's messages before they have a position
    batch BIGINT not null,
    device_no BIGINT not null,
    n BIGINT not null,
    body {blob} not null,
    primary key (batch, device_no, n)
);
create table to_device_txns (
    device_no BIGINT not null,               -- the sender's
    txn TEXT not null,                       -- event type and client_txn_id
    at_ms BIGINT not null,
    primary key (device_no, txn)
) {without_rowid};
create index to_device_txns_at on to_device_txns (at_ms);
create table backup_versions (
    account_no BIGINT not null,
    version BIGINT not null,                 -- rises with every version, never given again
    algorithm TEXT not null,
    auth_data {blob} not null,
    etag BIGINT not null default 0,          -- rises with every change of a key
    keys_count BIGINT not null default 0,
    deleted BIGINT not null default 0,
    primary key (account_no, version)
) {without_rowid};
create table backup_keys (
    account_no BIGINT not null,
    version BIGINT not null,
    room_id TEXT not null,
    session_id TEXT not null,
    is_verified BIGINT not null,
    first_message_index BIGINT not null,
    forwarded_count BIGINT not null,
    body {blob} not null,
    primary key (account_no, version, room_id, session_id)
);
