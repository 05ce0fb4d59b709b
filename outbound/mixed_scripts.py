"""Whether a domain label mixes writing systems as only a look-alike does. Pure.

Source: UTS 39 §5.1 and §5.2, "highly restrictive": one script, or Latin with what Japanese, Chinese and Korean
are written with; and §5.3, mixed numbers. The standard library knows no scripts, but a character's name begins
with its script (`CYRILLIC SMALL LETTER A`), and names never change (Unicode stability policy).
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

_TOGETHER: Final = (
    frozenset({"LATIN", "HAN", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "HAN", "BOPOMOFO"}),
    frozenset({"LATIN", "HAN", "HANGUL"}),
)
#: Named by what they are, not by their script.
_HAN: Final = frozenset({"CJK", "IDEOGRAPHIC", "KANGXI", "VERTICAL"})
_ANY: Final = frozenset({"MODIFIER", "COMBINING", "KATAKANA-HIRAGANA", "MASU"})


def is_mixed(label: str) -> bool:
    """`label` is a U-label, mapped as UTS 46 says."""
    if label.isascii():
        return False
    scripts = {script for character in label if (script := script_of(character))}
    zeros = {ord(c) - unicodedata.decimal(c) for c in label if unicodedata.category(c) == "Nd"}
    alone = len(scripts) <= 1 or any(scripts <= together for together in _TOGETHER)
    return not alone or len(zeros) > 1


@lru_cache(maxsize=4_096)
def script_of(character: str) -> str:
    """The first word of the script's name, `HAN` for ideographs; "" for what every script uses."""
    category = unicodedata.category(character)
    if category[0] != "L" and category != "Nl":
        return ""  # marks, digits and the hyphen
    first = unicodedata.name(character, "UNKNOWN").partition(" ")[0]
    if first in _HAN:
        return "HAN"
    return "" if first in _ANY else first
