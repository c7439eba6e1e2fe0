"""Authentication and authorization: tokens, sessions, logins, and the guard of pages."""
