"""From sound to text: a recogniser of your own, or the one that is built in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxrx.providers.computation import CallThread
from voxrx.providers.grammar import Grammar
from voxrx.providers.replies import Skills

if TYPE_CHECKING:
    from voxrx.providers.speech_worker import SpeechWorker

__all__ = (
    "RECOGNITION_HZ",
    "CommandRecogniser",
    "Ears",
    "Recogniser",
    "Recognition",
    "ThreadEars",
    "WorkerEars",
    "decided",
    "margin",
)

RECOGNITION_HZ = 16_000
_MOST_WORDS_CUT = 2
_CAUTION_IF_CUT = 2.0
# What the language model makes of a cough, a hum or a breath.
_NOISES = frozenset({"a", "ah", "and", "eh", "er", "hm", "huh", "if", "in", "mm", "of", "oh", "the", "uh", "um"})


@dataclass(frozen=True)
class Recognition:
    """What was understood.

    Attributes:
        text: The words; empty: nothing was said.
        understood: False if the words are a guess.
    """

    text: str
    understood: bool = True


class Recogniser(Protocol):
    """Turns the sound of one utterance into text. Called on a thread of its own, one utterance at a time."""

    def recognise(self, samples: NDArray[np.float32], sample_rate: int, /) -> str | Recognition:
        """Return what is said in ``samples`` (mono, in [-1, 1], at 16 kHz); an empty text if nothing is."""
        ...


def _default_grammar() -> Grammar:
    return Skills().grammar


@dataclass(frozen=True)
class CommandRecogniser:
    """The built-in recogniser: pocketsphinx, in a worker process, while the user is still speaking.

    Attributes:
        grammar: The sentences that it understands for sure; anything else is tried with a language model of general
            English, which is best effort.
        threshold: By how much a sentence of the grammar must beat free English, per 10 ms, to be believed (`margin`).
    """

    grammar: Grammar = field(default_factory=_default_grammar)
    threshold: float = 4.0


def margin(grammar_score: int, language_score: int, frames: int) -> float:
    """Return by how much the grammar's sentence explains the sound better than free English does, per frame.

    Scores are logarithms to the base 1.0001, of the whole utterance.
    """
    return (grammar_score - language_score) / max(1, frames)


def decided(
    frames: int,
    grammar_best: tuple[str, int] | None,
    language_best: tuple[str, int] | None,
    *,
    grammar: Grammar,
    threshold: float,
) -> Recognition:
    """Choose between what the grammar heard and what the language model heard; each is the words and their score."""
    if language_best is None:
        return Recognition("", understood=False)
    guess = Recognition(language_best[0], understood=grammar.match(language_best[0]) is not None)
    if not guess.understood and _NOISES.issuperset(guess.text.split()):
        guess = Recognition("", understood=False)
    sentence = None if grammar_best is None else _whole_sentence(grammar_best[0], grammar)
    if grammar_best is None or sentence is None:
        return guess
    if _is_much_longer(guess.text, sentence) or not _agree(guess.text, sentence):
        return guess
    needed = threshold if sentence == grammar_best[0] else threshold * _CAUTION_IF_CUT
    if guess.understood or margin(grammar_best[1], language_best[1], frames) >= needed:
        return Recognition(sentence)
    return guess


def _is_much_longer(guess: str, sentence: str) -> bool:
    """Tell whether free English heard so many more words that ``sentence`` must have passed most of them over.

    The margin does not show it: the grammar takes what it does not know for noise, which costs it little.
    """
    return len(guess.split()) > 1.5 * len(sentence.split()) + 2


def _agree(guess: str, sentence: str) -> bool:
    """Tell whether free English heard at least a quarter of the words of ``sentence``, too.

    Sums of large numbers can sound like anything: with noise at 25 dB, 15 of 48 sentences that are no commands passed
    for such a sum by their margin, and none of them shares its words. A word or two may be misheard as a whole.
    """
    words = sentence.split()
    heard = set(guess.split())
    return len(words) <= 2 or sum(word in heard for word in words) >= len(words) / 4


def _whole_sentence(text: str, grammar: Grammar) -> str | None:
    """Return ``text`` up to the last word at which it is a sentence.

    A decoder that has not reached the end of one says how far it came: "stop the", from "stop the timer", for "stop".
    """
    words = text.split()
    for count in range(len(words), max(0, len(words) - _MOST_WORDS_CUT - 1), -1):
        if grammar.match(beginning := " ".join(words[:count])) is not None:
            return beginning
    return None


class Ears(Protocol):
    """Hears one utterance after another; what a session knows of a recogniser."""

    def begin(self) -> None:
        """Begin an utterance, forgetting one that has not ended."""
        ...

    def hear(self, samples: NDArray[np.float32]) -> None:
        """Take more of its sound, at 16 kHz."""
        ...

    async def end(self) -> Recognition:
        """Return what was said."""
        ...

    def drop(self) -> None:
        """Forget the utterance."""
        ...


class WorkerEars:
    """Sends the sound to the worker process as it comes.

    Args:
        recogniser: What to listen for.
        worker: Returns the worker that runs at present.
        busy: Called when sound is sent; returns what to call when it has been decoded.
    """

    def __init__(
        self, recogniser: CommandRecogniser, worker: Callable[[], SpeechWorker], busy: Callable[[], Callable[[], None]]
    ) -> None:
        self._recogniser = recogniser
        self._worker = worker
        self._busy = busy

    def begin(self) -> None:
        """Begin an utterance."""
        self._worker().post("begin")

    def hear(self, samples: NDArray[np.float32]) -> None:
        """Send sound to the decoders."""
        sound = np.clip(samples * 32768.0, -32768, 32767).astype("<i2").tobytes()
        self._worker().post("audio", sound, done=self._busy())

    async def end(self) -> Recognition:
        """Ask what the decoders understood, and choose."""
        heard = (await self._worker().call("end")).fields
        return decided(
            heard["frames"],
            _best(heard.get("grammar")),
            _best(heard.get("language")),
            grammar=self._recogniser.grammar,
            threshold=self._recogniser.threshold,
        )

    def drop(self) -> None:
        """Forget the utterance."""
        self._worker().post("drop")


def _best(hypothesis: list[Any] | None) -> tuple[str, int] | None:
    return None if hypothesis is None else (hypothesis[0], hypothesis[1])


class ThreadEars:
    """Collects the sound, and gives it to the user's recogniser when the utterance has ended."""

    def __init__(self, recogniser: Recogniser, thread: CallThread) -> None:
        self._recogniser = recogniser
        self._thread = thread
        self._sound: list[NDArray[np.float32]] = []

    def begin(self) -> None:
        """Begin to collect."""
        self._sound = []

    def hear(self, samples: NDArray[np.float32]) -> None:
        """Collect sound."""
        self._sound.append(samples)

    async def end(self) -> Recognition:
        """Ask the user's recogniser."""
        samples = np.concatenate(self._sound or [np.zeros(0, np.float32)])
        self._sound = []
        result = await self._thread.call(lambda: self._recogniser.recognise(samples, RECOGNITION_HZ))
        return result if isinstance(result, Recognition) else Recognition(result)

    def drop(self) -> None:
        """Forget what was collected."""
        self._sound = []
