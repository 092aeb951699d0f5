-- The feed (one row a transaction that others learn of), its cursors, and number series.
create table feed (pos BIGINT primary key, items TEXT not null) {without_rowid};
create table feed_cursor (
    name TEXT not null, part BIGINT not null, pos BIGINT not null, epoch BIGINT not null,
    owner TEXT, lease_until BIGINT, primary key (name, part)
);
create table ids (name TEXT primary key, next BIGINT not null);
