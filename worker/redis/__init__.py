"""Redis servers and connections to them."""
