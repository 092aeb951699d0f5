-- A transaction id is good for one event of one device in one room (CS #transaction-identifiers).
-- It names the event by its number: the row is written before the event has an id.
create table sent_transactions (
    device_no BIGINT not null, room_no BIGINT not null, kind TEXT not null, txn_id TEXT not null,
    event_no BIGINT not null,
    primary key (device_no, room_no, kind, txn_id)
) {without_rowid};
insert into sent_transactions (device_no, room_no, kind, txn_id, event_no)
    select t.device_no, t.room_no, t.kind, t.txn_id, e.event_no
    from sent_txns t join events e on e.event_id = t.event_id;
drop table sent_txns;
