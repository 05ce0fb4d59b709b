"""Rule held: a label that mixes writing systems as only a look-alike does is refused; real names of any language
are not.
"""

from __future__ import annotations

import idna
import pytest

from outbound.mixed_scripts import is_mixed, script_of
from outbound.reasons import Reason
from outbound.target import InvalidTarget, parse_target

MIXED = [
    "аpple",  # Cyrillic а
    "pаypal",
    "gοοgle",  # Greek omicron
    "αβγabc",
    "приветworld",
    "ⲁpple",  # Coptic
    "աmazon",  # Armenian
    "bücherкнига",
    "日本κ",
    "한국か",  # Hangul with Hiragana: neither of UTS 39's combinations
    "ㄅㄆあ",
    "שלוםabc",
    "१2३",  # Devanagari digits among ASCII ones
]
WHOLE = [
    "apple",
    "bücher",
    "straße",
    "привет",
    "ελλάδα",
    "日本語",
    "ひらがな",
    "カタカナ",
    "日本のテレビtv",
    "アニメ々",
    "中文abc",
    "ㄅㄆabc中",
    "한국abc",
    "韓国한국",
    "हिन्दी",
    "ไทย",
    "العربية",
    "עברית",
    "ქართული",
    "හිංහල",
    "shop-24",
    "кафе-24",
    "१२३",
]


@pytest.mark.parametrize("label", MIXED)
def test_mixed(label: str) -> None:
    assert is_mixed(label)


@pytest.mark.parametrize("label", WHOLE)
def test_not_mixed(label: str) -> None:
    assert not is_mixed(label)


@pytest.mark.parametrize("label", ["аpple", "gοοgle", "日本κ", "приветworld"])
def test_both_spellings_of_a_mixed_label_are_refused(label: str) -> None:
    for host in (label, idna.encode(label).decode(), f"www.{label}.example"):
        with pytest.raises(InvalidTarget, match="mixes scripts") as caught:
            parse_target(f"https://{host}.test/")
        assert caught.value.reason is Reason.URL_MIXED_SCRIPT


@pytest.mark.parametrize("label", ["bücher", "привет", "日本のテレビtv", "한국abc", "हिन्दी"])
def test_names_of_one_language_go_through(label: str) -> None:
    assert parse_target(f"https://{label}.test/").host == f"{idna.encode(label).decode()}.test"


def test_labels_are_judged_one_by_one() -> None:
    assert parse_target("https://привет.example.com/").host.endswith(".example.com")


@pytest.mark.parametrize(
    ("character", "script"),
    [
        ("a", "LATIN"),
        ("ж", "CYRILLIC"),
        ("ω", "GREEK"),
        ("中", "HAN"),
        ("々", "HAN"),
        ("〇", "HAN"),
        ("ー", ""),  # used by both Japanese syllabaries
        ("あ", "HIRAGANA"),
        ("7", ""),
        ("-", ""),
        ("\u0301", ""),
    ],
)
def test_a_characters_script(character: str, script: str) -> None:
    assert script_of(character) == script
