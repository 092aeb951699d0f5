"""The OAuth 2.0 API (CS #oauth-20-api): clients, what people allow them, browsers signed in."""
