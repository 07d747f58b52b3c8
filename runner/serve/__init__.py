"""Serving: one process, from an app that is loaded to connections that are drained."""
