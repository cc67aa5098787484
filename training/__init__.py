"""The offline half of calibrant: fits networks to readings, and publishes them as artifacts."""
