"""Callbacks on their way to receivers: the request, and what limits it."""
