"""The `flap-sam` command."""
