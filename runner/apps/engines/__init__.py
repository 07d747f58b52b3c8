"""Engines: what stands between a connection and an app. Only the chosen one is imported."""
