"""A server of the Model Context Protocol over the HTTP API: `knouds-worker mcp`.

It holds no connection to Redis and no key of the provider. Each call goes to the API with the token
of its caller, whose role decides what is offered and what is done.
"""
