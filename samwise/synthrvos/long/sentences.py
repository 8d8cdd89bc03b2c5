"""What is said in a long video: of its targets alone, or, as a near miss, of nothing at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from samwise.synthrvos.expressions import KIND_OF, Statement, clauses_of, draw_query, nouns_of
from samwise.synthrvos.grammar import pick, realise
from samwise.synthrvos.long.truth import LongWorld, satisfied, unheard_of
from samwise.synthrvos.motion import MOTIONS
from samwise.synthrvos.queries import KINDS, Clause, Noun, Query, called
from samwise.synthrvos.vocabulary import COLOURS, SHAPES, SIDES, SIZES

NO_TARGET = "no_target"
LONG_KINDS = (*KINDS, NO_TARGET)
_KINDS = KIND_OF | {"returns": "leaving"}
_WEIGHTS = {"late_motion": 2.0, "entering": 1.5, "leaving": 1.5, "occluded": 4.0}
_OF_LEADS = 4.0  # how much more likely sentences are about what something happens to
_COMINGS = ("enters", "leaves", "returns", "hidden")  # a cut makes everything come and go
_CHANGES = ("does", "starts", "side", "enters", "leaves")


def possible(world: LongWorld, cut: bool) -> Iterator[tuple[Query, list[int]]]:
    """Everything that can be said in the scene truly and clearly, with its targets."""
    nouns = nouns_of(world)
    sized = [replace(noun, size=size) for noun in nouns if noun.shape or noun.colour for size in SIZES]
    for noun in (*nouns, *sized):
        group = called(noun, world)
        if group and len(group) == 1:
            yield Query("relation" if noun.size else "appearance", noun), group
        elif group and len(group) < world.count and (noun.shape or noun.colour or noun.texture):
            yield from ((Query("multiple", noun, None, number), group) for number in (0, len(group)))
    alone = [noun for noun in nouns if (noun.shape or noun.colour) and len(called(noun, world) or ()) == 1]
    names = [noun for noun in alone if noun.texture is None]
    clauses = [
        *clauses_of(world, names),
        *([Clause("returns")] if any(map(world.gaps, range(world.count))) else []),
    ]
    for noun in nouns:
        if len(called(noun, world) or ()) < 2:
            continue  # the clause would be idle
        for clause in clauses:
            query = Query(_KINDS[clause.name], noun, clause)
            if not (cut and _is_the_cameras(clause)):
                targets = satisfied(query, world)
                if targets is not None and len(targets) == 1:
                    yield query, targets


def _is_the_cameras(clause: Clause) -> bool:
    """Whether a cut, too, does to everything what the clause says."""
    return clause.name in _COMINGS and not clause.value and clause.anchor is None


def long_statements(
    world: LongWorld, elsewhere: LongWorld | None, rng: np.random.Generator, count: int, leads: set[int]
) -> list[Statement]:
    """Up to ``count`` different sentences, the first about a lead, one or two about nothing.

    Args:
        world: The scene.
        elsewhere: The scene that cuts show; none of the sentences may be about it.
        rng: Draws the sentences.
        count: How many are wanted.
        leads: The objects that something happens to.
    """
    pool: dict[str, list[tuple[Query, list[int]]]] = {}
    with np.errstate(divide="ignore", invalid="ignore"):  # something can be right behind something else
        for query, targets in possible(world, elsewhere is not None):
            if elsewhere is None or unheard_of(query, elsewhere):
                pool.setdefault(query.kind, []).append((query, targets))
    chosen: list[Statement] = []
    missing = 1 + (count > 4 and rng.random() < 0.3)
    while len(chosen) < count - missing:
        asked = [
            (query, targets)
            for queries in pool.values()
            for query, targets in queries
            if chosen or len(targets) == 1 and targets[0] in leads
        ]
        if not asked:
            break
        query, targets = _choose(asked, chosen, leads, rng)
        text = realise(query, rng)
        if all(text != said.text for said in chosen):
            chosen.append(Statement(text, query, tuple(targets)))
        pool[query.kind] = [entry for entry in pool[query.kind] if entry[0] != query]
    true = [query for queries in pool.values() for query, _ in queries] + [said.query for said in chosen]
    for query in _near_misses(world, elsewhere, true, rng)[:missing]:
        chosen.append(Statement(realise(query, rng), query, ()))
    return [chosen[i] for i in rng.permutation(len(chosen))] if chosen else []


def _choose(
    asked: list[tuple[Query, list[int]]], chosen: list[Statement], leads: set[int], rng: np.random.Generator
) -> tuple[Query, list[int]]:
    """One of the sentences: first kind and targets, then the clause, then the wording."""
    topics: dict[tuple[str, tuple[int, ...]], list[Query]] = {}
    for query, targets in asked:
        topics.setdefault((query.kind, tuple(targets)), []).append(query)
    kinds = Counter(said.query.kind for said in chosen)
    about = Counter(said.targets for said in chosen)
    weights = np.array(
        [
            _WEIGHTS.get(kind, 1.0)
            * (_OF_LEADS if leads & set(targets) else 1.0)
            / ((1 + 3 * kinds[kind]) * (1 + about[targets]))
            for kind, targets in topics
        ]
    )
    topic = list(topics)[int(rng.choice(len(topics), p=weights / weights.sum()))]
    return draw_query(topics[topic], rng), list(topic[1])


def _near_misses(
    world: LongWorld, elsewhere: LongWorld | None, true: list[Query], rng: np.random.Generator
) -> list[Query]:
    """Sentences that are clearly true of nothing, each one word away from a true one."""
    found: list[Query] = []
    single = [query for query in true if query.number == 1]
    for _ in range(300 if single else 0):
        query = _one_word_off(pick(rng, single), world, rng)
        if query is None or elsewhere is not None and not unheard_of(query, elsewhere):
            continue
        if elsewhere is not None and query.clause is not None and _is_the_cameras(query.clause):
            continue
        if query.clause is not None and not called(query.noun, world):
            continue  # the clause would be idle
        if satisfied(query, world) == [] and all(query.noun != other.noun for other in found):
            found.append(query)
            if len(found) == 2:
                break
    return found


def _one_word_off(query: Query, world: LongWorld, rng: np.random.Generator) -> Query | None:
    """The same with another colour, shape, or value of its clause; None where too little is said."""
    noun, clause = query.noun, query.clause
    if clause is not None:
        if clause.name not in _CHANGES or not clause.value or (noun.shape is None and noun.colour is None):
            return None
        values = SIDES if clause.name in ("side", "enters", "leaves") else MOTIONS[1:]
        changed = replace(clause, value=pick(rng, values))
        return replace(query, kind=NO_TARGET, clause=changed)
    if noun.shape is None or noun.colour is None:
        return None
    if rng.random() < 0.5:
        other = replace(
            noun, colour=_other(noun.colour, [looks.colour for looks in world.looks], COLOURS, rng)
        )
    else:
        other = replace(noun, shape=_other(noun.shape, [looks.shape for looks in world.looks], SHAPES, rng))
    return Query(NO_TARGET, other)


def _other(word: str, there: list[str], known: object, rng: np.random.Generator) -> str:
    """Another word of the vocabulary, preferably one that is true of something else in the scene."""
    options = sorted(set(there) - {word}) if rng.random() < 0.7 else []
    return pick(rng, options or [other for other in known if other != word])  # type: ignore[attr-defined]


def rivals(query: Query, targets: tuple[int, ...], world: LongWorld) -> list[int]:
    """The objects of the scene that a hasty reader might take for the target.

    Where the sentence says more than a name, those of the same name; else those that all of the name's words
    but one are true of, if it has two or more.
    """
    if query.clause is not None:
        return [k for k in called(query.noun, world) or () if k not in targets]
    noun = query.noun
    said = [name for name in ("shape", "colour", "texture", "size") if getattr(noun, name) is not None]
    close: set[int] = set()
    for name in said if len(said) > 1 else ():
        rest: Noun = replace(noun, **{name: None})
        close |= set(called(rest, world) or ())
    return sorted(close - set(targets))
