"""Short names for private ones."""

import itertools
import string
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

_LETTERS = string.ascii_lowercase + string.ascii_uppercase


def assign(groups: list[set[str]], private: Mapping[str, set[str]], taken: Collection[str]) -> dict[str, str]:
    """Give each private name a short one, which no other name of the same group of modules has.

    Different groups use the same short names, as each different one takes RAM. A name that several have is the same
    everywhere; those that one has depend on this group only, so that a change there changes no other module's code.

    Args:
        groups: Paths of modules that share objects.
        private: Path -> private names that get short ones.
        taken: Names that no short name may be.

    Returns:
        Private name -> short name.
    """
    members = [set().union(*(private[path] for path in group)) for group in groups]
    homes: dict[str, list[int]] = defaultdict(list)
    for number, names in enumerate(members):
        for name in names:
            homes[name].append(number)
    assigned: dict[str, str] = {}
    in_use: list[set[str]] = [set() for _ in groups]
    for name in sorted(homes, key=lambda name: (-len(homes[name]), name)):
        used = set(taken).union(*(in_use[number] for number in homes[name]))
        assigned[name] = next(each for each in _short_names() if each not in used)
        for number in homes[name]:
            in_use[number].add(assigned[name])
    return assigned


def _short_names() -> Iterator[str]:
    """Yield `_a` to `_Z`, `_aa` and so on. With their underscore they stay private, also for mpy-cross."""
    for length in itertools.count(1):
        for letters in itertools.product(_LETTERS, repeat=length):
            yield "_" + "".join(letters)
