"""From volumes to slice windows: a site's scans become its store, the store becomes windows."""
