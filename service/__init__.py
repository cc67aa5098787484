"""The online half of calibrant: loads artifacts, and serves them."""
