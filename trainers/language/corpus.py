"""Data sets as tokens: the texts that the project carries, anybody's files, and MNIST's pixels.

Every data set has a fixed held-out part, which training neither predicts nor reads.
"""

import difflib
import hashlib
import lzma
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from trainers.mnist.images import MNIST_FILES, carried

TEXTS = {  # carried, with the SHA-256 of the unpacked text
    "english": "7758b5b3ed8f56e1a9ac53132da5a073cf1763a7a86d9ab0c9954c06560638f8",
    "python": "64200ecb03b75ff2950a8fcf77dc6c16c186b875751daf0dbd7e103c26306c69",
}
SIDES = {"pixels-7": 7, "pixels-14": 14, "pixels-28": 28}   # of MNIST's images, averaged down
DATASETS = (*TEXTS, *SIDES)
BYTES = 256

# The held-out part of a text: pieces spread over the whole, since neither text is the same throughout.
PIECES, PIECE = 64, 4096   # 262,144 bytes; of a short text a fifteenth
HELD_SHARE = 15
FEWEST_PIECE = 256         # bytes of a piece, where a text is so short that there are fewer pieces
MARGIN_SHARE = 8           # of a piece: bytes around it that nobody trains on, so that no sentence lies on both sides

HELD_PIXELS, FEWEST_IMAGES = 2**18, 1000   # tokens of MNIST's test images that are held out, and images at least


class DataError(ValueError):
    """A data set that is unknown, can't be read, or is too short; the message says what to do."""


@dataclass(frozen=True)
class Corpus:
    """A data set in memory: tokens, and where training and the held-out part lie in them.

    Arrays, not tensors: they pass through Ray's object store without a copy, one a node. A stretch [start, stop)
    says which tokens are predicted; the first of them is predicted from the token before it.
    """

    name: str
    tokens: np.ndarray     # (n,) uint8
    train: np.ndarray      # (k, 2) int64, stretches
    held_out: np.ndarray   # (m, 2) int64
    vocabulary: int
    image: int             # tokens of an image, which is one sequence; 0: a text, cut wherever a context ends
    digest: str            # SHA-256 of all this

    @property
    def knowing_nothing(self) -> float:
        """Loss of giving every token the same probability, nats."""
        return math.log(self.vocabulary)

    def available(self, context: int) -> int:
        """Training tokens in whole sequences of this context."""
        return int(sequences_in(self.train, context).sum()) * context


def load_corpus(data: str | Sequence[str] = "python", *, levels: int = 4) -> Corpus:
    """A data set by its name, or a text of one's own from its files, one behind the other.

    `levels`: grey levels of pixels. Raises DataError, one line, for what can't be had.
    """
    names = (data,) if isinstance(data, str) else tuple(data)
    if names[0] in SIDES and len(names) == 1:
        return _pixels(names[0], SIDES[names[0]], levels)
    if names[0] in TEXTS and len(names) == 1:
        return text_corpus(names[0], _carried_text(names[0]))
    text = b"".join(_read(name) for name in names)
    if not text:
        raise DataError(f"{', '.join(names)}: there is not a byte in it: give a text of some 100,000 bytes or more")
    return text_corpus("+".join(Path(name).name for name in names), text)


def text_corpus(name: str, text: bytes) -> Corpus:
    """Pieces evenly spread over the text are held out; between them, less a margin on both sides, is the training part."""
    tokens = np.frombuffer(text, np.uint8)
    pieces, piece = pieces_of(len(tokens))
    middles = (2 * np.arange(pieces) + 1) * len(tokens) // (2 * pieces)
    held_out = np.stack([middles - piece // 2, middles - piece // 2 + piece], axis=1)
    margin = piece // MARGIN_SHARE
    # From 1: the very first byte has none before it.
    train = np.stack([np.r_[1, held_out[:, 1] + margin], np.r_[held_out[:, 0] - margin, len(tokens)]], axis=1)
    return _corpus(name, tokens, train[train[:, 1] > train[:, 0]], held_out, vocabulary=BYTES, image=0)


def pieces_of(length: int) -> tuple[int, int]:
    """How many pieces of a text are held out, and the bytes of each. Raises DataError where a text is too short for one."""
    held = min(PIECES * PIECE, length // HELD_SHARE)
    pieces = min(PIECES, held // FEWEST_PIECE) or 1
    if held < 2:
        raise DataError(f"a text of {length:,} bytes is too short to hold anything out: give some 100,000 bytes or more")
    return pieces, held // pieces


def looks_binary(corpus: Corpus) -> bool:
    """Whether a text holds the byte 0, which no text in UTF-8 does in earnest."""
    return corpus.image == 0 and bool((corpus.tokens == 0).any())


def sequences_in(stretches: np.ndarray, context: int) -> np.ndarray:
    """Whole sequences in each stretch (k, 2): (k,)."""
    return (stretches[:, 1] - stretches[:, 0]) // context


def starts_of(stretches: np.ndarray, context: int) -> np.ndarray:
    """Where every whole sequence of the stretches starts, in order; int64."""
    counts = sequences_in(stretches, context)
    rank = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)   # within its stretch
    return np.repeat(stretches[:, 0], counts) + context * rank


def _corpus(name: str, tokens: np.ndarray, train: np.ndarray, held_out: np.ndarray, *, vocabulary: int, image: int) -> Corpus:
    digest = hashlib.sha256(f"{vocabulary} {image}".encode())
    for array in (tokens, train.astype(np.int64), held_out.astype(np.int64)):
        digest.update(np.ascontiguousarray(array).data)
    return Corpus(name=name, tokens=tokens, train=train.astype(np.int64), held_out=held_out.astype(np.int64),
                  vocabulary=vocabulary, image=image, digest=digest.hexdigest())


def _carried_text(name: str) -> bytes:
    text = lzma.decompress((resources.files("trainers.language") / "data" / f"{name}.txt.xz").read_bytes())
    if hashlib.sha256(text).hexdigest() != TEXTS[name]:
        raise DataError(f"trainers/language/data/{name}.txt.xz is damaged (its checksum is wrong): install the project again")
    return text


def _read(name: str) -> bytes:
    path = Path(name).expanduser()
    try:
        if path.is_dir():
            raise DataError(f"--data {name} is a directory: give the files in it")
        return path.read_bytes()
    except FileNotFoundError:
        near = difflib.get_close_matches(name, DATASETS, 1)
        raise DataError(f"--data {name}: there is no such file{f' (did you mean {near[0]}?)' if near else ''}: give a file, "
                        f"or one of {', '.join(DATASETS)}") from None
    except OSError as error:
        raise DataError(f"--data {name} can't be read ({error.strerror}): give a file that you may read") from None


def _pixels(name: str, side: int, levels: int) -> Corpus:
    """Each image line by line behind a start symbol, its pixels in `levels` grey levels."""
    if not 2 <= levels <= 255:
        raise DataError(f"--levels {levels}: pixels have 2 to 255 grey levels")
    held = max(FEWEST_IMAGES, HELD_PIXELS // side**2)
    images = np.concatenate([_shrunk(carried(file), side, levels) for file in MNIST_FILES if "images" in file])
    test = len(images) - 10_000
    tokens = np.concatenate([np.full((len(images), 1), levels, np.uint8), images], axis=1)   # the start symbol is no grey level
    starts = np.arange(len(images)) * (side**2 + 1) + 1
    stretches = np.stack([starts, starts + side**2], axis=1)
    return _corpus(f"{name}, {levels} levels", tokens.ravel(), stretches[:test], stretches[test:test + held],
                   vocabulary=levels + 1, image=side**2)


def _shrunk(images: np.ndarray, side: int, levels: int) -> np.ndarray:
    """(n, side^2) grey levels of images (n, 28, 28): the mean of each square of pixels, in equal steps."""
    step = images.shape[1] // side
    means = images.reshape(-1, side, step, side, step).mean(axis=(2, 4), dtype=np.float32)
    return np.minimum(means * (levels / 256.0), levels - 1).astype(np.uint8).reshape(len(images), side**2)
