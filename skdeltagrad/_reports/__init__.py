"""What a fit or an edit did or would do, as values that can be kept and printed."""
