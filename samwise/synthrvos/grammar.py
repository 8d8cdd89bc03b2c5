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
    ADJECTIVES,
    ANYTHING,
    BESIDE,
    GERUNDS,
    INFINITIVES,
    NUMBERS,
    PATTERN_NOUN,
    PLURALS,
    SIZE_SUPERLATIVE,
    SMALL_WORDS,
    SUPERLATIVE,
)

T = TypeVar("T")


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def realise(query: Query, rng: np.random.Generator) -> str:
    """Says it in one of the ways there are, in lower case without punctuation."""
    noun, clause = query.noun, query.clause
    plural = query.number != 1
    if clause is None:
        return _determined(query, _noun_phrase(noun, rng, plural, may_trail=True), rng)
    before, after = _clause(clause, rng, plural)
    phrase = _noun_phrase(noun, rng, plural)
    if before and (not after or rng.random() < 0.35):
        return _determined(query, f"{before} {phrase}", rng)
    return f"{_determined(query, phrase, rng)} {after}"


def _determined(query: Query, phrase: str, rng: np.random.Generator) -> str:
    return f"the {phrase}" if query.number == 1 else pick(rng, NUMBERS[query.number]).format(phrase)


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
    """The clause as (adjective before the noun, words after it); either may be empty."""
    value, s = clause.value, "" if plural else "s"
    are = "are" if plural else "is"
    other = f"the {_noun_phrase(clause.anchor, rng)}" if clause.anchor else ""
    if clause.name == "side":
        if value == "middle":
            return "", pick(rng, ("in the middle", "in the center"))
        if " " in value:
            vertical, horizontal = value.split()
            return "", f"in the {vertical} {horizontal} corner"
        at = "on" if value in ("left", "right") else "at"
        return "", pick(
            rng, (f"{at} the {value}", f"{at} the {value} of the picture", f"near the {value} side")
        )
    if clause.name == "farthest":
        return SUPERLATIVE[value], pick(rng, (f"closest to the {value} side", f"nearest to the {value}"))
    if clause.name == "extreme_size":
        than = "bigger than all the others" if value == "largest" else "smaller than all the others"
        return pick(rng, SIZE_SUPERLATIVE[value]), f"that {are} {than}"
    if clause.name == "beside":
        return "", f"{pick(rng, BESIDE[value])} {other}"
    if clause.name == "nearest":
        return "", pick(
            rng,
            ("closest to {}", "nearest to {}", "next to {}")
            if value == "nearest"
            else ("farthest from {}", "far away from {}"),
        ).format(other)
    if clause.name == "does":
        gerund = pick(rng, GERUNDS[value])
        if value == "still":
            after = pick(
                rng,
                (
                    gerund,
                    f"that never move{s}",
                    f"that stay{s} still",
                    f"that keep{s} still",
                    f"that do{'' if plural else 'es'} not move",
                ),
            )
        else:
            after = pick(rng, (gerund, f"that {are} {gerund}", f"that keep{s} {gerund}"))
        return ADJECTIVES.get(value, ""), after
    if clause.name == "starts":
        infinitive = pick(rng, INFINITIVES[value])
        if value == "back":
            verb, rest = infinitive.split(" ", 1)
            verb = "goes" if verb == "go" else f"{verb}s"
            return "", f"that {verb} {rest}" + pick(rng, ("", " later", " after a while"))
        gerund = pick(rng, GERUNDS[value])
        return "", pick(
            rng,
            (
                f"that starts {gerund} later",
                f"that starts to {infinitive} after a while",
                f"that begins to {infinitive} later",
                f"that suddenly starts {gerund}",
                f"that starts {gerund}",
                f"that begins {gerund} after a while",
            ),
        )
    if clause.name == "stops":
        return "", pick(
            rng,
            (
                "that stops",
                "that stops moving",
                "that stops later",
                "that comes to rest",
                "that stops after a while",
            ),
        )
    if clause.name == "enters":
        side = f" from the {value}" if value else ""
        return "", pick(
            rng,
            (
                "that enters",
                "that comes in",
                "that enters the scene",
                "that comes into view",
                "entering the scene",
                "coming into view",
                "that appears later",
            ),
        ) + side
    if clause.name == "leaves":
        side = f" on the {value}" if value in ("left", "right") else f" at the {value}" if value else ""
        return "", pick(
            rng,
            (
                "that leaves",
                "that leaves the scene",
                "that goes out of view",
                "that moves out of the picture",
                "leaving the scene",
                "going out of view",
            ),
        ) + side
    assert clause.name == "hidden", clause.name
    if other:
        return "", pick(
            rng,
            (
                "that goes behind {}",
                "that passes behind {}",
                "moving behind {}",
                "that is hidden behind {} for a while",
                "that disappears behind {}",
            ),
        ).format(other)
    return "", pick(
        rng,
        (
            "that is hidden for a while",
            "that disappears and comes back",
            "that gets hidden and appears again",
        ),
    )


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
            Clause("starts", pick(rng, tuple(INFINITIVES))),
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
