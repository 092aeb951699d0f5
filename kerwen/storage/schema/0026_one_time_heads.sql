-- One-time keys are given in the order of their numbers, and what was given last stands in a row
-- of its own: a claim changes that narrow row and never the pages that hold keys.
create table one_time_heads (
    device_no BIGINT not null,
    algorithm TEXT not null,
    given BIGINT not null,                   -- keys up to this number were given
    primary key (device_no, algorithm)
) {without_rowid};
insert into one_time_heads (device_no, algorithm, given)
    select device_no, algorithm, sum(case when batch >= 1152921504606846976 then 1 else 0 end)
    from one_time_keys group by device_no, algorithm;
create table one_time_keys_in_order (
    device_no BIGINT not null,
    algorithm TEXT not null,
    number BIGINT not null,                  -- ms of the upload, and one more for each key of it
    key_id TEXT not null,                    -- unique with device and algorithm: uploads see to it
    body {blob} not null,
    primary key (device_no, algorithm, number)
) {without_rowid};
insert into one_time_keys_in_order (device_no, algorithm, number, key_id, body)
    select device_no, algorithm, row_number() over (
        partition by device_no, algorithm
        order by case when batch >= 1152921504606846976 then 0 else batch end, key_id
    ), key_id, body from one_time_keys;
drop table one_time_keys;
alter table one_time_keys_in_order rename to one_time_keys;
