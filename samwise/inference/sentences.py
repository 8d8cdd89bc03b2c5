"""Sentences whose words a text encoder doesn't know, or that it can't take whole: what is said and done."""

from __future__ import annotations

import bisect
import logging
import re
from collections.abc import Hashable, Iterable, Sequence
from weakref import WeakKeyDictionary

from samwise.data.types import Expression
from samwise.encoders.tokens import Tokenizer
from samwise.modeling.samwise import Samwise

log = logging.getLogger(__name__)

MOSTLY = 0.5  # share of unknown tokens above which a sentence is doubtful
_LONGEST_WORD = 30  # letters; more are a sentence in a script without spaces, of which a part is kept
_WAY_OUT = (
    "say it in words that it knows (most encoders know English alone), or take a network with another encoder"
)
_said: WeakKeyDictionary[Samwise, set[Hashable]] = WeakKeyDictionary()


def doubt(model: Samwise, text: str) -> str | None:
    """What to tell somebody whose sentence is mostly in words that the text encoder's vocabulary lacks.

    Raises:
        UserError: The sentence is empty or none.
    """
    share = model.tokenizer.look(text).unknown
    if share <= MOSTLY:
        return None
    return f"the text encoder doesn't know {share:.0%} of “{text}”, so its masks may mean nothing; {_WAY_OUT}"


def warn_of_unknown(model: Samwise, texts: Iterable[str]) -> None:
    """Logs the ``doubt`` about typed sentences, once for each of them."""
    for text in texts:
        if (message := doubt(model, text)) and _first_time(model, text):
            log.warning("%s", message)


def fitting(model: Samwise, expression: Expression) -> str:
    """A dataset's sentence, cut with one warning where it is longer than the text encoder takes.

    Nobody is there to shorten it, and a run of hours mustn't end because of it.
    """
    text = cut(model.tokenizer, expression.text)
    if text != expression.text and _first_time(model, expression.key):
        log.warning(
            "video %s, expression %s: the sentence is longer than the %s tokens that the text encoder takes; "
            "it is cut after “%s”",
            *expression.key,
            model.tokenizer.max_tokens,
            text[-50:],
        )
    return text


def cut(tokenizer: Tokenizer, text: str) -> str:
    """As much from a sentence's start as the text encoder takes, in whole words.

    Raises:
        UserError: The sentence is empty or none.
    """
    most = tokenizer.max_tokens

    def tokens(end: int) -> int:
        return len(tokenizer.look(text[:end]).ids)

    if most is None or tokens(len(text)) <= most:
        return text
    text = text.strip()
    ends = [word.end() for word in re.finditer(r"\S+", text)]
    whole = bisect.bisect_right(ends, most, key=tokens)
    end = ends[whole - 1] if whole else 0
    if whole < len(ends) and (not whole or ends[whole] - end > _LONGEST_WORD):
        inside = range(end + 1, ends[whole])
        end += bisect.bisect_right(inside, most, key=tokens)
    return text[: max(1, end)].strip()


def check_expressions(model: Samwise, expressions: Sequence[Expression]) -> None:
    """Warns, before a dataset is segmented, of each sentence that is cut, and in one line of the doubtful."""
    shares = {x.text: model.tokenizer.look(fitting(model, x)).unknown for x in expressions}
    doubtful = [text for text, share in shares.items() if share > MOSTLY]
    if doubtful:
        log.warning(
            "the text encoder doesn't know most of %d of these %d sentences, such as “%.60s”, so their masks "
            "may mean nothing; " + _WAY_OUT,
            len(doubtful),
            len(shares),
            max(doubtful, key=lambda text: shares[text]),
        )


def _first_time(model: Samwise, what: Hashable) -> bool:
    """Whether this is asked for the first time: what is said of a sentence is said once."""
    said = _said.setdefault(model, set())
    before = len(said)
    said.add(what)
    return len(said) > before
