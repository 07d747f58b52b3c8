"""Listening sockets: where to bind, which are kept, what a service manager passes, certificates."""
