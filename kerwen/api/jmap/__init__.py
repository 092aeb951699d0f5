"""The JMAP door: routes, sessions, methods (docs/jmap.md)."""
