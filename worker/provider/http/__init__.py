"""Connections over HTTP/1.1. They know nothing of the provider they lead to."""
