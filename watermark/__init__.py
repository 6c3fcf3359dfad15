"""Mark, encode, tag, read back: the only way a made clip reaches disk."""
