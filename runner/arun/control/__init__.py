"""A small HTTP server for an instance's own state, its client, and what is said there."""
