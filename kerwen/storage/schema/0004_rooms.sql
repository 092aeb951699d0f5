-- Events. `client` is what clients see, up to `unsigned`: a JSON object without its last brace
-- and without room_id. `rest` is the signed PDU with its content cut out at `cut` (-1: whole).
create table events (
    event_no {id},
    room_no BIGINT not null,
    seq BIGINT,                        -- place in the timeline; null: known, but not part of it
    pos BIGINT not null,               -- position on the feed; 0: came by backfill
    event_id TEXT not null unique,
    type TEXT not null,
    state_key TEXT,
    sender TEXT not null,
    ts BIGINT not null,
    depth BIGINT not null,
    state_group BIGINT not null,       -- the room's state before the event
    loud BIGINT not null,              -- `rooms.loud` after the event
    flags BIGINT not null,             -- 1 rejected, 2 soft-failed, 4 loud, 8 marked
    relates_to TEXT,                   -- the event it relates to, and how
    rel_type TEXT,
    thread TEXT,                       -- the root of its thread
    redacted_by TEXT,
    device_no BIGINT,                  -- who sent it, under which transaction id
    txn_id TEXT,
    unsigned_json {blob},              -- prev_content and its like: `"a":1,"b":2`
    cut BIGINT not null,
    client {blob} not null,
    rest {blob} not null
);
create unique index events_of_room on events (room_no, seq);
create index events_relations on events (relates_to, rel_type) where relates_to is not null;
create index events_threads on events (room_no, seq) where thread is not null;

-- A transaction id is good for one event of one device in one room (CS #transaction-identifiers).
create table sent_txns (
    device_no BIGINT not null, room_no BIGINT not null, kind TEXT not null, txn_id TEXT not null,
    event_id TEXT not null, ts BIGINT not null,
    primary key (device_no, room_no, kind, txn_id)
) {without_rowid};

-- State as this server saw it, by stretches of the timeline: [from_seq, to_seq); null: still so.
create table room_state (
    room_no BIGINT not null, type TEXT not null, state_key TEXT not null,
    from_seq BIGINT not null, to_seq BIGINT, pos BIGINT not null, event_no BIGINT not null,
    primary key (room_no, type, state_key, from_seq)
) {without_rowid};
create index room_state_now on room_state (room_no, type, state_key, event_no)
    where to_seq is null;
create index room_state_changes on room_state (room_no, pos);

-- State as the graph of events has it: each group is another one with changes. Every so many
-- groups one is written out whole (prev 0), so that a chain is short.
create table state_groups (
    group_no {id}, room_no BIGINT not null, prev BIGINT not null, chain BIGINT not null
);
create table state_changes (
    group_no BIGINT not null, type TEXT not null, state_key TEXT not null,
    event_no BIGINT not null, primary key (group_no, type, state_key)
) {without_rowid};

create table members (
    room_no BIGINT not null, user_no BIGINT not null,
    membership TEXT not null,
    seq BIGINT not null,               -- of the member event
    pos BIGINT not null,
    event_no BIGINT not null,
    joined_pos BIGINT not null,        -- position at which the present stay began
    forgotten BIGINT not null,
    read_seq BIGINT not null,          -- everything up to here is read
    read_loud BIGINT not null,         -- `events.loud` there
    own_rules BIGINT not null,         -- 1: has push rules of their own, not the default ones
    name TEXT, avatar TEXT,            -- as the member event says
    stripped {blob},                   -- invites and knocks: the room's state as shown
    primary key (room_no, user_no)
) {without_rowid};
create index members_of_user on members (user_no, membership, room_no);
create index members_changes on members (user_no, pos);
-- it holds all that is asked: else SQLite takes the primary key and looks at every member
create index members_rules on members (room_no, own_rules, membership) where own_rules = 1;

create table receipts (
    room_no BIGINT not null, user_no BIGINT not null, type TEXT not null,
    thread TEXT not null,              -- '' unthreaded, 'main', or the root of a thread
    event_id TEXT not null, seq BIGINT not null, ts BIGINT not null, pos BIGINT not null,
    primary key (room_no, user_no, type, thread)
) {without_rowid};
create index receipts_changes on receipts (room_no, pos);

-- What an event means to one member beyond `loud`: a mention, or a rule of the member's own.
create table push_marks (
    room_no BIGINT not null, user_no BIGINT not null, seq BIGINT not null,
    notify BIGINT not null,            -- 1 more, -1 fewer than `loud` says
    highlight BIGINT not null,
    thread TEXT not null,              -- '' or the root of a thread
    primary key (user_no, room_no, seq)
) {without_rowid};

create table aliases (
    alias TEXT primary key, room_no BIGINT not null, creator TEXT not null,
    created_ms BIGINT not null
);
create index aliases_of_room on aliases (room_no);
create table published_rooms (room_no BIGINT primary key, published_ms BIGINT not null);
