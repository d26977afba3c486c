"""The rounds of a run: what the server checks, adds up and remembers."""
