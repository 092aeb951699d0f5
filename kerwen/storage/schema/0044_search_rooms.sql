-- The word that says in which room an event is (`rooms/search_words.py`) can stand in no text any
-- more: everything is taken in anew, by the worker and by whoever searches.
drop table search_index;
{search_table};
delete from search_pending;
insert into search_pending select event_no from events
    where type in ('m.room.message', 'm.room.name', 'm.room.topic') and redacted_by is null;
