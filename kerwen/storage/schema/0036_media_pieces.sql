-- Pieces of announced uploads that are not whole yet (docs/media.md, "Uploads in pieces"). Each is
-- a blob of its own, [first, last) in bytes; they go when the file is put together or its time is over.
create table media_piece (
    media_id TEXT not null,
    first BIGINT not null,
    last BIGINT not null,
    blob TEXT not null,
    primary key (media_id, first)
) {without_rowid};
create index media_piece_blob on media_piece (blob);
