"""What a run leaves on disk, each with its one reader and writer."""
