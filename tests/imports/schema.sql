-- The tables of a Synapse database that an import reads, as we describe them (tests/imports/full.py
-- compares them with a real one). Types are those that both engines of Synapse know.
create table schema_version (version BIGINT not null);
insert into schema_version values (94);
create table users (
    name TEXT, password_hash TEXT, creation_ts BIGINT, admin SMALLINT default 0 not null,
    is_guest SMALLINT default 0 not null, appservice_id TEXT, user_type TEXT,
    deactivated SMALLINT default 0 not null, shadow_banned BOOLEAN,
    locked BOOLEAN default false not null, suspended BOOLEAN default false not null
);
create table erased_users (user_id TEXT not null);
create table devices (
    user_id TEXT not null, device_id TEXT not null, display_name TEXT, last_seen BIGINT,
    hidden BOOLEAN default false
);
create table access_tokens (
    id BIGINT primary key, user_id TEXT not null, device_id TEXT, token TEXT not null,
    valid_until_ms BIGINT, puppets_user_id TEXT, refresh_token_id BIGINT
);
create table refresh_tokens (
    id BIGINT primary key, user_id TEXT not null, device_id TEXT not null, token TEXT not null,
    next_token_id BIGINT, expiry_ts BIGINT
);
create table profiles (
    user_id TEXT not null, displayname TEXT, avatar_url TEXT, full_user_id TEXT
);
create table registration_tokens (
    token TEXT not null, uses_allowed INT, pending INT not null, completed INT not null,
    expiry_time BIGINT
);
create table account_data (
    user_id TEXT not null, account_data_type TEXT not null, stream_id BIGINT not null,
    content TEXT not null
);
create table room_account_data (
    user_id TEXT not null, room_id TEXT not null, account_data_type TEXT not null,
    stream_id BIGINT not null, content TEXT not null
);
create table room_tags (
    user_id TEXT not null, room_id TEXT not null, tag TEXT not null, content TEXT not null
);
create table push_rules (
    id BIGINT primary key, user_name TEXT not null, rule_id TEXT not null,
    priority_class SMALLINT not null, priority INTEGER not null default 0,
    conditions TEXT not null, actions TEXT not null
);
create table push_rules_enable (
    id BIGINT primary key, user_name TEXT not null, rule_id TEXT not null, enabled SMALLINT
);
create table pushers (
    id BIGINT primary key, user_name TEXT not null, profile_tag TEXT not null, kind TEXT not null,
    app_id TEXT not null, app_display_name TEXT not null, device_display_name TEXT not null,
    pushkey TEXT not null, ts BIGINT not null, lang TEXT, data TEXT, enabled BOOLEAN,
    device_id TEXT
);
create table user_filters (
    user_id TEXT not null, filter_id BIGINT not null, filter_json BYTEA not null,
    full_user_id TEXT
);
create table rooms (room_id TEXT primary key not null, is_public BOOLEAN, room_version TEXT);
create table events (
    stream_ordering BIGINT primary key, topological_ordering BIGINT not null,
    event_id TEXT not null unique, type TEXT not null, room_id TEXT not null,
    outlier BOOLEAN not null, depth BIGINT default 0 not null, origin_server_ts BIGINT,
    sender TEXT, state_key TEXT, rejection_reason TEXT
);
create index events_room_stream on events (room_id, stream_ordering);
create table event_json (
    event_id TEXT not null unique, room_id TEXT not null, internal_metadata TEXT not null,
    json TEXT not null
);
create table event_txn_id_device_id (
    event_id TEXT not null unique, room_id TEXT not null, user_id TEXT not null,
    device_id TEXT not null, txn_id TEXT not null
);
create table redactions (event_id TEXT not null unique, redacts TEXT not null);
create index redactions_redacts on redactions (redacts);
create table current_state_events (
    event_id TEXT not null unique, room_id TEXT not null, type TEXT not null,
    state_key TEXT not null
);
create index current_state_of_room on current_state_events (room_id);
create table event_forward_extremities (event_id TEXT not null, room_id TEXT not null);
create table room_memberships (
    event_id TEXT not null unique, user_id TEXT not null, room_id TEXT not null,
    membership TEXT not null, forgotten INTEGER default 0
);
create table room_aliases (room_alias TEXT not null, room_id TEXT not null, creator TEXT);
create table receipts_linearized (
    stream_id BIGINT not null, room_id TEXT not null, receipt_type TEXT not null,
    user_id TEXT not null, event_id TEXT not null, thread_id TEXT, data TEXT not null
);
create table e2e_device_keys_json (
    user_id TEXT not null, device_id TEXT not null, key_json TEXT not null
);
create table e2e_one_time_keys_json (
    user_id TEXT not null, device_id TEXT not null, algorithm TEXT not null, key_id TEXT not null,
    ts_added_ms BIGINT not null, key_json TEXT not null
);
create table e2e_fallback_keys_json (
    user_id TEXT not null, device_id TEXT not null, algorithm TEXT not null, key_id TEXT not null,
    key_json TEXT not null, used BOOLEAN not null default false
);
create table e2e_cross_signing_keys (
    user_id TEXT not null, keytype TEXT not null, keydata TEXT not null, stream_id BIGINT not null
);
create table e2e_cross_signing_signatures (
    user_id TEXT not null, key_id TEXT not null, target_user_id TEXT not null,
    target_device_id TEXT not null, signature TEXT not null
);
create table e2e_room_keys_versions (
    user_id TEXT not null, version BIGINT not null, algorithm TEXT not null,
    auth_data TEXT not null, deleted SMALLINT default 0 not null, etag BIGINT
);
create table e2e_room_keys (
    user_id TEXT not null, room_id TEXT not null, session_id TEXT not null,
    version BIGINT not null, first_message_index INT, forwarded_count INT, is_verified BOOLEAN,
    session_data TEXT not null
);
create table device_inbox (
    user_id TEXT not null, device_id TEXT not null, stream_id BIGINT not null,
    message_json TEXT not null
);
create table local_media_repository (
    media_id TEXT unique, media_type TEXT, created_ts BIGINT, upload_name TEXT, user_id TEXT,
    quarantined_by TEXT, url_cache TEXT
);
create table remote_media_cache (
    media_origin TEXT, media_id TEXT, media_type TEXT, created_ts BIGINT, upload_name TEXT,
    filesystem_id TEXT, quarantined_by TEXT
);
