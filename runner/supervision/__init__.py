"""Several processes that serve as one: the supervisor, its workers, and what they say to each other."""
