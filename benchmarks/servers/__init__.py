"""The servers that are measured against ours. Each file is a whole program, as its users would write it."""
