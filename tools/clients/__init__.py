"""Writes the generated parts of the clients from the OpenAPI document: `make clients`."""
