"""The mail house of the store's own tests."""

from tests.mail_store.conftest import _locks, house  # noqa: F401 (fixtures)
