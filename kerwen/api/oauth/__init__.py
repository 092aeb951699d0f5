"""The endpoints of the OAuth 2.0 API that clients call."""
