"""Finds, in a measured scene, what can be said truly and unambiguously, kind by kind."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from samwise.synthrvos.grammar import pick, realise
from samwise.synthrvos.motion import MOTIONS
from samwise.synthrvos.queries import KINDS, Clause, Noun, Query, called, is_true, satisfied
from samwise.synthrvos.vocabulary import SIDES, SIZES
from samwise.synthrvos.world import World


@dataclass(frozen=True)
class Statement:
    """A sentence with its meaning and its targets (object numbers, from 0)."""

    text: str
    query: Query
    targets: tuple[int, ...]


def statements(
    world: World,
    rng: np.random.Generator,
    count: int,
    kinds: dict[str, float],
    first: tuple[str, ...] = (),
    motions: Collection[str] | None = None,
) -> list[Statement]:
    """Up to ``count`` different sentences about the scene, each true of its targets and of nothing else.

    Args:
        world: The measured scene.
        rng: Draws the sentences.
        count: How many are wanted.
        kinds: Relative frequency of the kinds.
        first: Kinds to be served before the others, if the scene allows.
        motions: Motions that may be spoken of; None for all.
    """
    found: dict[str, list[Query]] = {kind: [] for kind in kinds}
    for query in candidates(world):
        if query.kind in found and _speaks_of(query, motions):
            found[query.kind].append(query)
    chosen: list[Statement] = []
    wanted = list(first)
    while len(chosen) < count:
        open_kinds = [kind for kind in found if found[kind]]
        if not open_kinds:
            break
        wanted = [kind for kind in wanted if kind in open_kinds]
        weights = np.array(
            [kinds[kind] / (1 + 3 * sum(c.query.kind == kind for c in chosen)) for kind in open_kinds]
        )
        kind = wanted.pop(0) if wanted else open_kinds[rng.choice(len(open_kinds), p=weights / weights.sum())]
        query = draw_query(found[kind], rng)
        targets = satisfied(query, world)
        assert targets is not None and is_true(query, world, targets)
        text = realise(query, rng)
        if all(text != c.text for c in chosen):
            chosen.append(Statement(text, query, tuple(targets)))
        found[kind] = [q for q in found[kind] if q != query]
    return [chosen[i] for i in rng.permutation(len(chosen))]


def _speaks_of(query: Query, motions: Collection[str] | None) -> bool:
    """Whether only motions that may be are mentioned."""
    clause = query.clause
    if motions is None or clause is None or clause.name not in ("does", "starts"):
        return True
    return clause.value in motions


def draw_query(queries: list[Query], rng: np.random.Generator) -> Query:
    """One of the queries: first a clause, then a wording, so that common clauses don't crowd out others."""
    clauses = sorted({q.clause.name + q.clause.value if q.clause else "" for q in queries})
    name = pick(rng, clauses)
    same = [q for q in queries if (q.clause.name + q.clause.value if q.clause else "") == name]
    short = [q for q in same if _length(q) <= min(map(_length, same)) + 1]
    return pick(rng, short if rng.random() < 0.7 else same)


def _length(query: Query) -> int:
    nouns = [query.noun, query.clause.anchor if query.clause and query.clause.anchor else Noun()]
    return sum(v is not None for noun in nouns for v in (noun.shape, noun.colour, noun.texture, noun.size))


def candidates(world: World) -> Iterator[Query]:
    """Everything the grammar can say of the scene that the checker accepts."""
    nouns = nouns_of(world)
    groups = {noun: called(noun, world) or [] for noun in nouns}
    names = [
        n for n, group in groups.items() if len(group) == 1 and n.texture is None and (n.shape or n.colour)
    ]
    for noun, group in groups.items():
        if len(group) == 1:
            yield Query("appearance", noun)
        elif 2 <= len(group) < world.count and (noun.shape or noun.colour or noun.texture):
            yield from (Query("multiple", noun, None, number) for number in (0, len(group)))
    for noun, group in groups.items():
        if len(group) < 2:
            continue  # the clause would be idle
        for size in SIZES:
            yield from _accepted(Query("relation", replace(noun, size=size)), world)
        for clause in clauses_of(world, names):
            query = Query(KIND_OF[clause.name], noun, clause)
            targets = satisfied(query, world)
            if targets is None or not targets or len(targets) == len(group):
                continue
            if len(targets) == 1:
                yield from (replace(query, kind=kind) for kind in _kinds(clause, world, targets[0], group))
            elif clause.name in ("does", "side") and len(targets) <= 3 and all(map(world.stays, targets)):
                yield from (replace(query, kind="multiple", number=number) for number in (0, len(targets)))


KIND_OF = {
    "side": "position",
    "farthest": "position",
    "extreme_size": "relation",
    "beside": "relation",
    "nearest": "relation",
    "does": "motion",
    "starts": "late_motion",
    "stops": "late_motion",
    "enters": "entering",
    "leaves": "leaving",
    "hidden": "occluded",
}
assert set(KIND_OF.values()) <= set(KINDS)


def _accepted(query: Query, world: World) -> Iterator[Query]:
    targets = satisfied(query, world)
    if targets is not None and is_true(query, world, targets):
        yield query


def _kinds(clause: Clause, world: World, target: int, group: list[int]) -> Iterator[str]:
    """The kind of a sentence with a clause and one target, if it is fit for use."""
    kind = KIND_OF[clause.name]
    rivals = [j for j in world.twins(target) if j in group and world.stays(j)]
    if kind not in ("motion", "late_motion"):
        yield kind
        return
    if not world.stays(target):
        return
    # Told from an identical twin by motion alone; "late" if both do the same for a third of the video.
    together = max((world.alike_until(target, j) for j in rivals), default=0)
    late = world.frames / 3 <= together < world.frames
    if kind == "late_motion" and late:
        yield kind
    elif kind == "motion" and late and clause.value == "still" and world.onsets[target] is None:
        yield "late_motion"
    elif kind == "motion" and rivals and together <= 2:
        yield kind


def nouns_of(world: World) -> list[Noun]:
    """All ways to name objects of the scene by shape, colour and texture."""
    nouns: dict[Noun, None] = {}
    for looks in world.looks:
        for keep in product((False, True), repeat=3):
            values = (looks.shape, looks.colour, looks.texture)
            nouns[Noun(*(v if k else None for v, k in zip(values, keep, strict=True)))] = None
    return list(nouns)


def clauses_of(world: World, names: list[Noun]) -> list[Clause]:
    """Every clause that might hold in the scene."""
    clauses = [
        Clause("side", s) for s in (*SIDES, "middle", *(f"{v} {h}" for v in SIDES[2:] for h in SIDES[:2]))
    ]
    clauses += [Clause("farthest", side) for side in SIDES]
    clauses += [Clause("extreme_size", value) for value in ("largest", "smallest")]
    clauses += [Clause("beside", side, name) for side, name in product(SIDES, names)]
    clauses += [Clause("nearest", value, name) for value, name in product(("nearest", "farthest"), names)]
    if world.frames == 1:
        return clauses
    clauses += [Clause("does", motion) for motion in MOTIONS]
    if any(onset is not None for onset in world.onsets):
        clauses += [Clause("starts", value) for value in (*MOTIONS[1:], "back")] + [Clause("stops")]
    if not all(map(world.stays, range(world.count))):
        clauses += [Clause(name, side) for name, side in product(("enters", "leaves"), ("", *SIDES))]
    if (world.visible == 0).any():
        clauses += [Clause("hidden"), *(Clause("hidden", "", name) for name in names)]
    return clauses
