-- Every Matrix user id this server has met, ours and others', by number; an account's number is
-- its user's. Rooms likewise.
create table users (user_no {id}, user_id TEXT not null unique);
create table rooms (
    room_no {id},
    room_id TEXT not null unique,
    version TEXT not null,
    head BIGINT not null default 0,      -- seq of the newest event of the timeline
    depth BIGINT not null default 0,
    pos BIGINT not null default 0,       -- position of the newest change of any kind a member sees
    state_group BIGINT not null default 0,  -- state after the newest event
    loud BIGINT not null default 0,      -- how many events so far notify by the default rules
    tips TEXT not null default '[]',     -- forward extremities: event ids, JSON
    created_ms BIGINT not null
);
