-- What an account's owner takes for junk (mail/taste.py): a sealed model.
create table mail_tastes (
    account_no {id},
    version BIGINT not null,           -- rises with every change: nobody's lesson is overwritten
    sorted BIGINT not null,            -- MODSEQ up to which mail that came was looked at
    box {blob} not null
);
-- Annotations are sealed from here on; those of before are in clear until they are set again.
alter table mail_metadata add column sealed BIGINT not null default 0;
