"""``python -m soak``: what must hold at the end, each case against real processes; docs/soak.md says what each does."""
