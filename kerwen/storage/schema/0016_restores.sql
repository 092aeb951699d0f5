-- When a backup was put back: sessions and tokens that are newer than it are unknown here.
create table restores (at_ms BIGINT primary key);
