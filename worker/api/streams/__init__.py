"""Responses that last: server-sent events and long polls."""
