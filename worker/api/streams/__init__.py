"""Long-lived responses: server-sent events and long polls."""
