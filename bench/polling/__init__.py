"""How well polls are timed, in virtual time."""
