"""End-to-end stories told by independent Matrix clients against a running server."""
