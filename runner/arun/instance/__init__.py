"""What one instance is: what it goes by, what it owns, what it knows of its failures and hands over, and what it says of itself."""
