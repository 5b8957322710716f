"""German and English sentences about numbers, made by a small grammar.

The pair is synthetic, and has what makes translation more than a dictionary: German
says the ones before the tens and writes a number as one word, puts the verb second, and
sends participles and verbs of subordinate clauses to the end.
"""

from __future__ import annotations

import numpy as np

__all__ = ["english_number", "german_number", "pairs"]

_ENGLISH = """zero one two three four five six seven eight nine ten eleven twelve
thirteen fourteen fifteen sixteen seventeen eighteen nineteen""".split()
_ENGLISH_TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
_GERMAN = """null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf
dreizehn vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn""".split()
_GERMAN_TENS = """- - zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig
neunzig""".split()

_NAMES = "Anna Ben Clara David Emma Felix Greta Hugo Ida Jonas Karla Leo".split()
_THINGS = (
    ("Äpfel", "apples"),
    ("Bücher", "books"),
    ("Briefe", "letters"),
    ("Bäume", "trees"),
    ("Häuser", "houses"),
    ("Karten", "cards"),
    ("Steine", "stones"),
    ("Vögel", "birds"),
    ("Blumen", "flowers"),
    ("Münzen", "coins"),
    ("Schafe", "sheep"),
    ("Schlüssel", "keys"),
)
# Third person, participle, and the same in English.
_VERBS = (
    ("kauft", "gekauft", "buys", "bought"),
    ("zählt", "gezählt", "counts", "counted"),
    ("sieht", "gesehen", "sees", "seen"),
    ("verkauft", "verkauft", "sells", "sold"),
    ("findet", "gefunden", "finds", "found"),
    ("sucht", "gesucht", "seeks", "sought"),
    ("malt", "gemalt", "paints", "painted"),
)
_DAYS = (
    ("Montag", "Monday"),
    ("Dienstag", "Tuesday"),
    ("Mittwoch", "Wednesday"),
    ("Donnerstag", "Thursday"),
    ("Freitag", "Friday"),
    ("Samstag", "Saturday"),
    ("Sonntag", "Sunday"),
)


def english_number(number: int) -> str:
    """Says a number below a million: "three hundred and forty-two"."""
    if number < 20:
        return _ENGLISH[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _ENGLISH_TENS[tens] + (f"-{_ENGLISH[ones]}" if ones else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        tail = f" and {english_number(rest)}" if rest else ""
        return f"{_ENGLISH[hundreds]} hundred{tail}"
    thousands, rest = divmod(number, 1000)
    tail = f"{' and' if rest < 100 else ''} {english_number(rest)}" if rest else ""
    return f"{english_number(thousands)} thousand{tail}"


def german_number(number: int) -> str:
    """Says a number below a million: "dreihundertzweiundvierzig"."""
    if number < 20:
        return _GERMAN[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return (f"{_joined(ones)}und" if ones else "") + _GERMAN_TENS[tens]
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{_joined(hundreds)}hundert{german_number(rest) if rest else ''}"
    thousands, rest = divmod(number, 1000)
    head = german_number(thousands)
    # "eins" keeps its s only where it ends the number.
    head = head[:-1] if head.endswith("eins") else head
    return f"{head}tausend{german_number(rest) if rest else ''}"


def _joined(digit: int) -> str:
    return "ein" if digit == 1 else _GERMAN[digit]


def pairs(count: int, seed: int, largest: int = 999_999) -> list[tuple[str, str]]:
    """Makes different sentences, German and English, in the order of a seed.

    Args:
      count: how many.
      seed: the same seed gives the same sentences; more of them begin with the fewer.
      largest: the largest number that they speak of; below a million.

    Raises:
      ValueError: `largest` is out of range, or leaves too few different sentences.
    """
    if not 2 <= largest < 1_000_000:
        raise ValueError(f"largest is {largest}; give one from 2 to 999999.")
    rng = np.random.default_rng(seed)
    found: dict[str, str] = {}
    seen_before = 0
    while len(found) < count and seen_before < 1000:
        german, english = _sentence(rng, largest)
        seen_before = seen_before + 1 if german in found else 0
        found[german] = english
    if len(found) == count:
        return list(found.items())
    raise ValueError(
        f"Numbers up to {largest} make too few sentences for {count} different ones; "
        "raise largest, or ask for fewer."
    )


def _number(rng: np.random.Generator, largest: int) -> int:
    """A number from 2, of which as many are short as long."""
    digits = rng.integers(1, len(str(largest)) + 1)
    low, high = max(2, 10 ** (int(digits) - 1)), min(largest, 10 ** int(digits) - 1)
    return int(rng.integers(low, high + 1))


def _sentence(rng: np.random.Generator, largest: int) -> tuple[str, str]:
    def one(options):
        return options[rng.integers(len(options))]

    n, m = _number(rng, largest), _number(rng, largest)
    de, en = german_number(n), english_number(n)
    de2, en2 = german_number(m), english_number(m)
    who, whom = one(_NAMES), one(_NAMES)
    (things_de, things_en), (others_de, others_en) = one(_THINGS), one(_THINGS)
    verb, past, verb_en, past_en = one(_VERBS)
    day_de, day_en = one(_DAYS)
    forms = (
        (de, en),
        (f"{who} {verb} {de} {things_de}.", f"{who} {verb_en} {en} {things_en}."),
        (
            f"Am {day_de} hat {who} {de} {things_de} {past}.",
            f"On {day_en} {who} has {past_en} {en} {things_en}.",
        ),
        (
            f"{whom} weiß, dass {who} {de} {things_de} {verb}.",
            f"{whom} knows that {who} {verb_en} {en} {things_en}.",
        ),
        (
            f"Wie viel ist {de} plus {de2}?",
            f"How much is {en} plus {en2}?",
        ),
        (
            f"Hat {who} {de} {things_de} oder {de2} {others_de} {past}?",
            f"Has {who} {past_en} {en} {things_en} or {en2} {others_en}?",
        ),
        (
            f"Wenn {who} {de} {things_de} {verb}, {verb} {whom} {de2}.",
            f"If {who} {verb_en} {en} {things_en}, {whom} {verb_en} {en2}.",
        ),
    )
    return one(forms)
