"""Metadata files as copies of a corpus really have them: in other folders, and with other separators, than as published."""

from collections import defaultdict
from collections.abc import Collection

from forgeline.inventory import Inventory


def places(inventory: Inventory, names: Collection[str]) -> dict[str, list[str]]:
    """Where files of these names lie, by name: the least deep first. One pass over the inventory."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in inventory.files:
        if (name := path.rpartition("/")[2]) in names:
            found[name].append(path)
    return {name: sorted(found[name], key=lambda path: (path.count("/"), path)) for name in names}


def cells(line: str) -> list[str]:
    """The cells of a line, between tabs, else commas, else spaces, without spaces around them, nor quotes of cell or line."""
    separator = next((sign for sign in "\t," if sign in line), None)
    return [cell.strip(' "\t\r\n') for cell in line.split(separator)] or [""]
