"""Pairs or sets in, named figures out."""
