"""The provider of runs: what the engine needs of it (`port`), HTTP, and Knouds behind both."""
