"""The supervisor: its loop, its workers, and what they say to each other."""
