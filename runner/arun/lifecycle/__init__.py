"""The life of an instance: start, end, fallback, reload, upgrade."""
