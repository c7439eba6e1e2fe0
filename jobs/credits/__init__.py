"""Credits: what runs cost, and which sums of the ledger that belongs to."""
