"""Merkle trees as in RFC 6962, section 2.1: one hash over many items, and a short proof that an item is among them.

Leaves and nodes are hashed with different first bytes, so that no node can be passed off as an item.
"""

from collections.abc import Sequence
from hashlib import sha256


def levels(items: Sequence[bytes]) -> list[list[bytes]]:
    """The tree, from the leaves up to the root, which stands alone in the last level. ValueError where there is no item.

    A node without a neighbour goes up as it is: that gives RFC 6962's trees for every number of items.
    """
    if not items:
        raise ValueError("a tree needs at least one item")
    tree = [[sha256(b"\0" + item).digest() for item in items]]
    while len(tree[-1]) > 1:
        below = tree[-1]
        pairs = [_node(*below[i : i + 2]) if i + 1 < len(below) else below[i] for i in range(0, len(below), 2)]
        tree.append(pairs)
    return tree


def path(tree: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    """The hashes that lead from an item to the root."""
    found = []
    for level in tree[:-1]:
        if index ^ 1 < len(level):
            found.append(level[index ^ 1])
        index //= 2
    return found


def root_of(item: bytes, index: int, count: int, hashes: Sequence[bytes]) -> bytes | None:
    """The root of the tree of `count` items in which `item` is at `index`, by its path; None for a path that can't be."""
    if not 0 <= index < count:
        return None
    node, left = sha256(b"\0" + item).digest(), list(hashes)
    while count > 1:
        if index ^ 1 < count:
            if not left:
                return None
            other = left.pop(0)
            node = _node(other, node) if index % 2 else _node(node, other)
        index, count = index // 2, (count + 1) // 2
    return None if left else node


def _node(first: bytes, second: bytes) -> bytes:
    return sha256(b"\1" + first + second).digest()
