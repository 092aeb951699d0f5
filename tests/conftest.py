"""For all tests: the storage fixtures (`database`, `feed`, `engine`)."""

pytest_plugins = ["tests.storage.engines"]
