-- What people report as bad: rooms, events, users. Kept until an administrator is done with it.
create table reports (
    report_no {id},
    kind TEXT not null,           -- room, event, user
    reporter TEXT not null,       -- user ids, not numbers: a report outlives accounts
    room_id TEXT,
    event_id TEXT,
    user_id TEXT,                 -- who is reported: the event's sender, or the user
    reason TEXT not null,
    reported_ms BIGINT not null
);
create index reports_reporter on reports (reporter, reported_ms);
-- Rooms whose events relate to one another: only they are asked for aggregations.
create index events_related on events (room_no) where relates_to is not null;
