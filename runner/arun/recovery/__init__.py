"""The way back of a fallback: what its primary waits for, when it is tried again, and the probe that tries it."""
