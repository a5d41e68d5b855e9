"""The training rows: stored, found, removed and added under a transaction."""
