"""The provider's state and decisions: accounts, targets, runs, limits. No HTTP."""
