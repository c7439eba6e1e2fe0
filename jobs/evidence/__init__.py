"""Evidence for uncertain submits: what the provider's list of runs says (docs/evidence.md)."""
