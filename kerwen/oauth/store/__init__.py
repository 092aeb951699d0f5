"""The tables of the OAuth 2.0 API."""
