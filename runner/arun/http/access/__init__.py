"""The access log: entries, their formats, and how both become lines."""
