"""One server's life, the gate in front of TLS and PROXY listeners, and the event loop."""
