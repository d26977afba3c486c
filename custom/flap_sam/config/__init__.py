"""What is trained, how a run is conducted, and where things lie at a site."""
