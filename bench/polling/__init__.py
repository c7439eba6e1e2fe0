"""How well polls know when to look, in virtual time."""
