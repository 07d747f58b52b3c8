"""Listening sockets: where to bind, who keeps which, what a service manager passes, certificates."""
