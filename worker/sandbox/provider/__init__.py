"""The provider's own world: accounts, targets, runs, limits. No HTTP."""
