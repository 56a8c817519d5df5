"""How work is cut into parts."""


def parts(whole: int, part: int) -> int:
    """How many parts of that length cover the whole."""
    return -(-whole // part)


def part_range(index: int, length: int, end: int) -> tuple[int, int]:
    """First and last (exclusive) of a part."""
    first = index * length
    return first, min(first + length, end)


def parts_of_tree(leaves: int, fan: int) -> int:
    """Of a sum in a tree: its leaves, those of each `fan` of them, and so on, but for the last, which is the sum."""
    return 0 if leaves == 1 else leaves + parts_of_tree(parts(leaves, fan), fan)
