"""Budgets: limits in credits for a scope and a period, and what runs reserve and spend of them."""
