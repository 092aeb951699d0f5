-- What came in the name of domains that ask for reports (DMARC), by day, to be told to them.
create table mail_dmarc_results (
    day BIGINT not null,               -- of UTC, since 1970
    tag BIGINT not null,               -- keyed tag of what is in the box
    box {blob} not null,               -- sealed: domain, address, results, where reports go
    count BIGINT not null,
    primary key (day, tag)
) {without_rowid};
