-- The queue by destination; and what is known of TLS at other servers: their MTA-STS policies, and
-- how TLS went, to be reported later. Domains stand as keyed tags; what they are called is sealed.
create index mail_queue_recipients_destination on mail_queue_recipients (destination, due_ms);
create table mail_sts (
    destination BIGINT primary key,    -- keyed tag of the domain
    expires_ms BIGINT not null,
    box {blob} not null                -- sealed: the policy, its id, and the domain
) {without_rowid};
create index mail_sts_expires on mail_sts (expires_ms);
create table mail_tls_results (
    day BIGINT not null,               -- of UTC, since 1970
    tag BIGINT not null,               -- keyed tag of what is in the box
    box {blob} not null,               -- sealed: domain, policy, host, result
    count BIGINT not null,
    primary key (day, tag)
) {without_rowid};
