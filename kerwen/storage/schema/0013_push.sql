-- Push: who is to be waked, what waits for which pusher, and the wake-ups that phones fetch here.
alter table members add column pushed BIGINT not null default 0;  -- 1: may have pushers
-- it holds all that is asked: else SQLite takes the primary key and looks at every member
create index members_pushed on members (room_no, pushed, membership) where pushed = 1;
update members set pushed = 1 where user_no in (select account_no from pushers);

alter table pushers add column due_ms BIGINT;  -- when it is tried next; null: nothing waits
alter table pushers add column failures BIGINT not null default 0;  -- in a row
alter table pushers add column badge BIGINT not null default -1;  -- the count that was told last
alter table pushers add column badge_due BIGINT not null default 0;  -- how often it may have changed since then
create index pushers_due on pushers (due_ms) where due_ms is not null;

create table pushes (                          -- what waits; no content, only where it stands
    account_no BIGINT not null, app_id TEXT not null, pushkey TEXT not null,
    pos BIGINT not null, n BIGINT not null,    -- place on the feed: a deed done twice adds nothing
    room_no BIGINT not null, seq BIGINT not null,
    tweaks TEXT not null,                      -- of the rule that matched, JSON
    at_ms BIGINT not null,
    primary key (account_no, app_id, pushkey, pos, n)
) {without_rowid};
create index pushes_at on pushes (at_ms);

create table push_topics (                     -- UnifiedPush endpoints: the name is the secret
    topic_no {id},
    topic TEXT not null unique,
    account_no BIGINT not null,
    device_no BIGINT not null,                 -- it goes with the device; 0: with the account
    app TEXT not null,
    created_ms BIGINT not null,
    used_ms BIGINT not null                    -- somebody listened
);
create index push_topics_account on push_topics (account_no);
create index push_topics_device on push_topics (device_no);
create table push_messages (                   -- kept until fetched, for hours at most
    topic_no BIGINT not null, pos BIGINT not null, n BIGINT not null,
    at_ms BIGINT not null, body {blob} not null,
    primary key (topic_no, pos, n)
) {without_rowid};
create index push_messages_at on push_messages (at_ms);
