"""One module per page: its handler, and the actions of its forms."""
