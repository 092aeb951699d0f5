-- Which threads people follow (MSC4306).
create table thread_subscriptions (
    account_no BIGINT not null, room_no BIGINT not null,
    root TEXT not null,                        -- id of the event that the thread began with
    state BIGINT not null,                     -- 0: not any more, 1: by itself, 2: by the person's will
    ended_seq BIGINT not null,                 -- what the person knew of the room when they ended it
    pos BIGINT not null,
    primary key (account_no, room_no, root)
) {without_rowid};
create index thread_subscriptions_changes on thread_subscriptions (account_no, pos);
