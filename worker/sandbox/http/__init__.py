"""The sandbox over HTTP: routes, the running server, webhooks."""
