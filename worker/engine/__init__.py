"""The engine: small services, each a `tick(now)`, that move jobs along their road."""
