"""The kernel that every other package shares, and that imports none of them."""
