"""What a payload is good for: segmenting new scans. Speaks to no network."""
