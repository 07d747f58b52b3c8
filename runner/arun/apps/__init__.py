"""Apps: how one is found, what kind it is, and how each kind is served."""
