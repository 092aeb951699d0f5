-- Full text of clear events. `search_index` holds the words by event number (`rowid`).
{search_table};

-- Events whose words are still to be put there. The row is written with the event itself, so that
-- nothing is missed; a worker, or whoever searches, takes in many at once at a tenth of the cost.
create table search_pending (event_no {id});
insert into search_pending select event_no from events
    where type in ('m.room.message', 'm.room.name', 'm.room.topic') and redacted_by is null;
