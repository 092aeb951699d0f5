-- Every Matrix user id this server has met, ours and others', by number; an account's number is
-- its user's. Rooms likewise.
create table users (user_no {id}, user_id TEXT not null unique);
create table rooms (
    room_no {id},
    room_id TEXT not null unique,
    version TEXT not null,
    head BIGINT not null,         -- seq of the newest event of the timeline
    tail BIGINT not null,         -- seq of the oldest one (negative: backfilled)
    depth BIGINT not null,        -- depth of the deepest tip
    tips TEXT not null,           -- forward extremities: event ids, JSON
    pos BIGINT not null,          -- position of the newest change that a member sees
    state_seq BIGINT not null,    -- seq of the newest change of state
    state_group BIGINT not null,  -- the state after the newest event
    loud BIGINT not null,         -- how many events so far notify by the default rules
    marked BIGINT not null,       -- seq of the newest event that means something else to a member
    threaded BIGINT not null,     -- seq of the newest event in a thread
    joined BIGINT not null,       -- members that are joined, invited
    invited BIGINT not null,
    created_ms BIGINT not null
);
