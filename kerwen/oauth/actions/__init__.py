"""What the OAuth 2.0 API does."""
