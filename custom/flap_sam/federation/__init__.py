"""What crosses the wire. The only room that knows NVFlare."""
