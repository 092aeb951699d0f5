-- What was taken over from elsewhere, so that an import that broke off goes on without doubles.
create table mail_imported (           -- a message of a file: keyed tag of its folder and content
    account_no BIGINT not null, tag BIGINT not null, at_ms BIGINT not null,
    primary key (account_no, tag)
) {without_rowid};
create table mail_import_places (      -- how far a folder of another server was read
    account_no BIGINT not null,
    source BIGINT not null,            -- keyed tag of the server, the name there and the folder
    validity BIGINT not null,          -- its UIDVALIDITY
    uid BIGINT not null,               -- the last that is here
    at_ms BIGINT not null,
    primary key (account_no, source)
) {without_rowid};
