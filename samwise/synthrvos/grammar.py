"""From meanings to English: several ways to say everything, in a small vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from samwise.synthrvos.motion import MOTIONS
from samwise.synthrvos.queries import KINDS, Clause, Noun, Query
from samwise.synthrvos.vocabulary import COLOURS, SHAPES, SIDES, SIZES, TEXTURES
from samwise.synthrvos.words import (
    AFTER,
    ANYTHING,
    BEFORE,
    GERUNDS,
    NUMBERS,
    PATTERN_NOUN,
    PLURALS,
    SMALL_WORDS,
    VERBS,
)

T = TypeVar("T")


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def realise(query: Query, rng: np.random.Generator) -> str:
    """Says it in one of the ways there are, in lower case without punctuation."""
    plural, after = query.number != 1, ""
    if query.clause is None:
        phrase = _noun_phrase(query.noun, rng, plural, may_trail=True)
    else:
        before, after = _clause(query.clause, rng, plural)
        phrase = _noun_phrase(query.noun, rng, plural)
        if before and rng.random() < 0.35:
            phrase, after = f"{before} {phrase}", ""
    return f"{pick(rng, NUMBERS[query.number]).format(phrase)} {after}".rstrip()


def _noun_phrase(noun: Noun, rng: np.random.Generator, plural: bool = False, may_trail: bool = False) -> str:
    """Adjectives and a noun; with ``may_trail`` some adjectives may follow in a relative clause."""
    head = noun.shape or pick(rng, ANYTHING)
    if plural:
        head = PLURALS.get(head, f"{head}s")
    are = "are" if plural else "is"
    words = [head]
    tail = ""
    texture = noun.texture
    if texture in PATTERN_NOUN and rng.random() < 0.3:
        tail = f" with {PATTERN_NOUN[texture]}"
        texture = None
    if texture:
        words.insert(0, texture)
    if noun.colour:
        if may_trail and not tail and rng.random() < 0.2:
            tail = f" that {are} {noun.colour}"
        else:
            words.insert(0, noun.colour)
    if noun.size:
        words.insert(0, pick(rng, SMALL_WORDS[noun.size]))
    return " ".join(words) + tail


def _clause(clause: Clause, rng: np.random.Generator, plural: bool) -> tuple[str, str]:
    """The clause as (adjective before the noun, words after it); the former may be empty."""
    name, value, key = clause.name, clause.value, f"{clause.name} {clause.value}"
    at = "on" if value in ("left", "right") else "at"
    words = {"s": "", "are": "are", "do": "do"} if plural else {"s": "s", "are": "is", "do": "does"}
    words |= {"value": value, "at": at, "at_side": "", "from_side": ""}
    if value:
        words |= {"at_side": f" {at} the {value}", "from_side": f" from the {value}"}
    if clause.anchor:
        words["other"] = f"the {_noun_phrase(clause.anchor, rng)}"
    if name == "starts":
        words["verb"] = pick(rng, VERBS[value])
    if name in ("does", "starts") and value in GERUNDS:
        words["gerund"] = pick(rng, GERUNDS[value])
    if name == "side" and " " in value:
        name = "corner"
    elif name == "hidden" and clause.anchor:
        name = "behind"
    before = pick(rng, BEFORE.get(key, ("",)))
    return before, pick(rng, AFTER.get(key) or AFTER[name]).format(**words)


def grammar_corpus(count: int, seed: int = 0) -> list[str]:
    """Sample sentences from the whole grammar, for building a tokenizer; same seed, same sentences."""
    rng = np.random.default_rng([seed, 1])
    return [realise(_any_query(KINDS[i % len(KINDS)], rng), rng) for i in range(count)]


def _any_noun(rng: np.random.Generator, size: bool = False) -> Noun:
    options = ([None, *SHAPES], [None, *COLOURS], [None, None, None, *TEXTURES])
    noun = Noun(*(pick(rng, choices) for choices in options))
    return replace(noun, size=pick(rng, SIZES)) if size else noun


def _any_query(kind: str, rng: np.random.Generator) -> Query:
    side, motion = pick(rng, SIDES), pick(rng, MOTIONS)
    corner = f"{pick(rng, SIDES[2:])} {pick(rng, SIDES[:2])}"
    anchor = _any_noun(rng)
    clauses: dict[str, list[Clause | None]] = {
        "appearance": [None],
        "position": [
            Clause("side", side),
            Clause("side", corner),
            Clause("side", "middle"),
            Clause("farthest", side),
        ],
        "relation": [
            None,
            Clause("extreme_size", pick(rng, ("largest", "smallest"))),
            Clause("beside", side, anchor),
            Clause("nearest", pick(rng, ("nearest", "farthest")), anchor),
        ],
        "motion": [Clause("does", motion)],
        "late_motion": [
            Clause("starts", pick(rng, tuple(VERBS))),
            Clause("stops"),
            Clause("does", "still"),
        ],
        "multiple": [None, Clause("does", motion), Clause("side", side)],
        "entering": [Clause("enters", pick(rng, ("", *SIDES)))],
        "leaving": [Clause("leaves", pick(rng, ("", *SIDES)))],
        "occluded": [Clause("hidden"), Clause("hidden", "", anchor)],
    }
    clause = pick(rng, clauses[kind])
    number = pick(rng, (0, 2, 3)) if kind == "multiple" else 1
    return Query(kind, _any_noun(rng, size=kind == "relation" and clause is None), clause, number)
