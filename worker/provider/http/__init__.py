"""An HTTP/1.1 transport. It knows nothing of the provider behind it."""
