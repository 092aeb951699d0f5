-- Files whose rows were written while the disk was still at them: not yet acknowledged, or just
-- now. What a crash left here is looked at (kerwen/media/actions/clean.py).
create table media_unproved (
    media_id TEXT not null primary key,
    blob TEXT not null,
    size BIGINT not null,
    created_ms BIGINT not null
) {without_rowid};
