-- Media: what was uploaded, its thumbnails, and what each account has here.
create table media (
    origin TEXT not null,           -- '' for ours, else the name of the server it came from
    media_id TEXT not null,
    account_no BIGINT,              -- who uploaded it; null for other servers' media
    blob TEXT unique,               -- null while it is created but not yet uploaded
    content_type TEXT not null,
    file_name TEXT,
    size BIGINT not null,
    sha256 {blob},
    created_ms BIGINT not null,
    expires_ms BIGINT,              -- until when a created one may be filled; then null
    primary key (origin, media_id)
) {without_rowid};
create index media_by_account on media (account_no, created_ms);
create index media_pending on media (expires_ms) where blob is null;
create table media_thumbnail (
    origin TEXT not null,
    media_id TEXT not null,
    variant TEXT not null,          -- width x height, method, animated or not
    blob TEXT not null,             -- the image's own where it is small already
    content_type TEXT not null,
    size BIGINT not null,
    primary key (origin, media_id, variant)
) {without_rowid};
create index media_thumbnail_by_blob on media_thumbnail (blob);
create table media_usage (
    account_no {id},
    bytes BIGINT not null,
    files BIGINT not null,
    quota BIGINT                    -- bytes; null for the server's own setting
);
