"""Values, causes of failure, and the one way out: what every other package may use, and what uses none of them."""
