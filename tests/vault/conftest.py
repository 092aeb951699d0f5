"""Fixtures of the vault tests."""

from __future__ import annotations

from tests.storage import engines

database = engines.database
engine = engines.engine
feed = engines.feed
postgres_server = engines.postgres_server
postgres_template = engines.postgres_template
sqlite_template = engines.sqlite_template
