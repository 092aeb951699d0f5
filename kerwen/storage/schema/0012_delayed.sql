-- Events that somebody wants said later (MSC4140). `done_ms` 0: still to be said; else when it was
-- said (`event_id`), refused (`error`), or taken back (neither).
create table delayed_events (
    delay_id TEXT primary key,
    user_no BIGINT not null,
    device_no BIGINT not null,
    room_id TEXT not null,
    type TEXT not null,
    state_key TEXT,
    content {blob} not null,
    txn_id TEXT,                       -- of the request that asked for it; state has none
    delay_ms BIGINT not null,
    since_ms BIGINT not null,          -- when it was asked for, or last put off
    send_ms BIGINT not null,
    done_ms BIGINT not null,
    event_id TEXT,
    error TEXT,                        -- the reason's word, a colon, the text
    unique (device_no, room_id, type, txn_id)
);
create index delayed_events_due on delayed_events (send_ms) where done_ms = 0;
create index delayed_events_of_user on delayed_events (user_no, done_ms, send_ms);
create index delayed_events_done on delayed_events (done_ms) where done_ms > 0;
