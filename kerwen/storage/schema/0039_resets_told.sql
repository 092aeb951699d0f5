-- Whether the owner was told of a reset that an administrator began.
alter table password_resets add column told BIGINT not null default 0;
alter table second_factor_resets add column told BIGINT not null default 0;
