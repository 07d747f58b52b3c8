"""WebSockets (RFC 6455, RFC 7692); nothing here is imported before the first upgrade asks for it."""
