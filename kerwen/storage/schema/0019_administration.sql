-- Administration: who did what, what is shut, what is to be removed and when.
create table audit_log (                -- what administrators did, and were refused; only added to
    entry_no {id},
    at_ms BIGINT not null,
    actor TEXT not null,                -- a user id; '' for the command line
    deed TEXT not null,                 -- method and path of the route, or the command's words
    target TEXT not null,               -- what the path or the command named
    detail TEXT not null                -- JSON: numbers and switches of the deed, never content
);
create table audit_outcomes (           -- how each ended; none: the server ended before it did
    entry_no {id}, at_ms BIGINT not null, outcome TEXT not null
);
create table account_limits (           -- rate limits of an account: this percentage of everyone's
    account_no {id}, percent BIGINT not null  -- 0: none at all
);
create table notice_rooms (             -- where each account is told what the server has to say
    account_no {id}, room_id TEXT not null
);

create table room_blocks (              -- nobody enters these
    room_id TEXT primary key, blocked_ms BIGINT not null
) {without_rowid};
alter table rooms add column purged_ms BIGINT not null default 0;  -- all of it was removed
create table room_jobs (                -- removals under way, and those that were
    job_no {id},
    kind TEXT not null,                 -- history, room, erase
    room_id TEXT not null,              -- '' for erase
    account_no BIGINT not null,         -- whose words are erased; else 0
    before_ms BIGINT not null,          -- history: up to then
    cursor BIGINT not null,             -- how far it came
    removed BIGINT not null,            -- events so far
    asked_ms BIGINT not null,
    done_ms BIGINT not null             -- 0: under way
);
create index room_jobs_open on room_jobs (job_no) where done_ms = 0;
create table room_expiry (              -- rooms whose messages go after a time
    room_no {id},
    due_ms BIGINT not null,             -- when it is looked at next
    purged_seq BIGINT not null          -- of messages up to here nothing is left
);
create index room_expiry_due on room_expiry (due_ms);
insert into room_expiry select distinct room_no, 0, -4611686018427387904 from room_state
    where type in ('m.room.retention', 'com.beeper.disappearing_timer') and state_key = ''
    and to_seq is null;

alter table media add column quarantined BIGINT not null default 0;  -- 1: nobody gets it
alter table media add column used_ms BIGINT not null default 0;      -- somebody got it, to the day
create index media_cached on media (used_ms) where account_no is null;
create index media_age on media (created_ms);
