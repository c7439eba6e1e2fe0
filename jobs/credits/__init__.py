"""Credits: what runs cost, what they are likely to cost, and the sums of the ledger."""
