-- Sliding sync: what a connection of a device was sent, the last two states of each. A state is
-- written when the set of rooms changes, or what they are wanted with; news alone write nothing.
create table sliding_states (
    generation {id},             -- names the state in a client's `pos`; never given again
    device_no BIGINT not null,
    conn_id TEXT not null,
    seen_ms BIGINT not null,     -- renewed once a day while the connection is used
    body {blob} not null
);
create index sliding_states_conn on sliding_states (device_no, conn_id);
create index sliding_states_seen on sliding_states (seen_ms);
