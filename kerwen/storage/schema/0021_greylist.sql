-- Strangers who were asked to come back: keyed tags, which say nothing to whoever has no key.
create table mail_greylist (
    tag BIGINT not null,               -- of network, sender and recipient; of a network that came back
    first_ms BIGINT not null,
    passed_ms BIGINT not null,         -- when it last came back in time; 0: it has not yet
    primary key (tag)
) {without_rowid};
create index mail_greylist_first on mail_greylist (first_ms);
