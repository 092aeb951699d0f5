-- Sieve scripts, and what they remember. In clear: they are read while the vault is shut.
create table mail_filters (            -- one row for each account that ever had a script or a vacation
    account_no {id},
    changes BIGINT not null,           -- rises with every change
    next_no BIGINT not null,
    active BIGINT not null,            -- number of the active script; 0: none
    vacation TEXT not null             -- JSON; '': none was ever set
);
create table mail_scripts (
    account_no BIGINT not null,
    script_no BIGINT not null,         -- never given again in its account
    name TEXT not null,
    source TEXT not null,
    primary key (account_no, script_no)
) {without_rowid};
create unique index mail_scripts_name on mail_scripts (account_no, name);
create table mail_remembered (         -- duplicates, and who was answered: keyed tags
    account_no BIGINT not null,
    tag BIGINT not null,
    until_ms BIGINT not null,
    primary key (account_no, tag)
) {without_rowid};
create index mail_remembered_until on mail_remembered (until_ms);
