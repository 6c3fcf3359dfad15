"""One corpus, one file: reads it from disk as it is distributed."""
