"""Apps: how one is found, what kind it is, and the engine that serves it."""
