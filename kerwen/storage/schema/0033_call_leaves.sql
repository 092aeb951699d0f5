-- Delayed leaves of calls that their owners handed over: we put them off while the device is in the
-- call, and say them when it is gone.
create table call_leaves (
    delay_id TEXT primary key,
    user_no BIGINT not null,
    call_name TEXT not null,
    identity TEXT not null,            -- of the participant
    period_ms BIGINT not null
);
create index call_leaves_of_user on call_leaves (user_no);
