-- Dehydrated devices (MSC3814): a device that sleeps here, so that messages sent while nobody of
-- the account was logged in can be read later. `data` is sealed by its owner.
create table dehydrated_devices (
    account_no {id},
    device_no BIGINT not null unique,
    data {blob} not null
);
