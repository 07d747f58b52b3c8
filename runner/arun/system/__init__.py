"""What arun asks of the operating system: sockets, privileges, the process itself, its log."""
