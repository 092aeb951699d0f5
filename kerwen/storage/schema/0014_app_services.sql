-- Application services: how far each was told, the transaction under way, and their directories.
create table app_services (
    service_id TEXT primary key,
    txns BIGINT not null default 0,     -- how many transactions were made
    done_pos BIGINT not null,           -- everything up to this place was taken by the service
    done_n BIGINT not null,
    failures BIGINT not null default 0, -- of the transaction under way
    retry_ms BIGINT not null default 0,
    txn_id TEXT,                        -- it; null: none. Sent again with the same bytes until 200
    txn_pos BIGINT,                     -- up to where it reaches
    txn_n BIGINT,
    body {blob},
    fetched TEXT                        -- messages to devices in it: JSON [[device_no, pos], …]
);
create table app_service_rooms (        -- rooms that a service lists for a network of its own
    service_id TEXT not null, network_id TEXT not null, room_no BIGINT not null,
    primary key (service_id, network_id, room_no)
) {without_rowid};
create table app_service_users (        -- who registered whom: a service acts as nobody else
    account_no {id}, service_id TEXT not null
);
