"""From the files a run leaves to what a person reads."""
