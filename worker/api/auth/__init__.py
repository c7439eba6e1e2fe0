"""Who may do what: tokens, sessions, logins."""
