"""Data sets of tokens: carried ones are whole, the held-out part is nobody's to train on, bad files are refused in one line."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.language.corpus import DATASETS, PIECE, PIECES, DataError, load_corpus, looks_binary, starts_of, text_corpus
from trainers.mnist.images import carried


@pytest.fixture(scope="module")
def english():
    return load_corpus("english")


def read_by_training(corpus, context):
    """(n,) whether training reads or predicts the token."""
    return marked(corpus, starts_of(corpus.train, context)[:, None] + np.arange(-1, context))


def predicted(stretches, context):
    return (starts_of(stretches, context)[:, None] + np.arange(context)).ravel()


def marked(corpus, places):
    made = np.zeros(len(corpus.tokens), bool)
    made[places.ravel()] = True
    return made


@pytest.mark.parametrize("name, length, budget", [("english", 4_024_959, 3_600_000), ("python", 8_791_113, 8_000_000)])
def test_carried_texts_hold_the_issues_budgets_beside_their_held_out_parts(name, length, budget):
    corpus = load_corpus(name)
    assert len(corpus.tokens) == length and corpus.available(128) >= budget
    held = corpus.held_out
    assert held.shape == (PIECES, 2) and (held[:, 1] - held[:, 0] == PIECE).all()
    assert held[0, 0] < length / PIECES and held[-1, 1] > length * (1 - 1 / PIECES), "spread over the whole"


@settings(deadline=None, max_examples=40)
@given(st.integers(600, 40_000), st.integers(1, 300))
def test_no_training_byte_is_held_out_or_beside_it(length, context):
    corpus = text_corpus("any", bytes(length))
    held = predicted(corpus.held_out, 1)
    beside = marked(corpus, held[:, None] + np.arange(-1, 2))
    assert not (read_by_training(corpus, context) & beside).any()
    once = predicted(corpus.train, context)
    assert len(np.unique(once)) == len(once) == corpus.available(context), "a byte is predicted once"
    assert len(held) >= length // 15 - 64


@pytest.mark.parametrize("name", ["english", "python"])
def test_nor_is_one_of_the_carried_texts(name):
    corpus = load_corpus(name)
    assert not (read_by_training(corpus, 128) & marked(corpus, predicted(corpus.held_out, 128))).any()


@pytest.mark.parametrize("side, levels", [(7, 4), pytest.param(14, 2, marks=pytest.mark.slow), pytest.param(28, 8, marks=pytest.mark.slow)])
def test_pixels_are_mnists_and_every_sequence_is_an_image(side, levels):
    corpus, sources = load_corpus(f"pixels-{side}", levels=levels), ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
    context = side**2
    assert corpus.available(context) == 60_000 * context and corpus.vocabulary == levels + 1
    for stretches, source in zip((corpus.train, corpus.held_out), sources):
        starts = starts_of(stretches, context)
        assert (corpus.tokens[starts - 1] == levels).all(), "behind the start symbol, which is no grey level"
        place = 123
        pixels = corpus.tokens[starts[place]:starts[place] + context].reshape(side, side)
        assert set(np.unique(corpus.tokens[stretches[0, 0]:stretches[-1, 1]])) == set(range(levels + 1)), "every level occurs"
        bright = carried(source)[place].reshape(side, 28 // side, side, 28 // side).mean((1, 3))
        assert (np.diff(pixels.ravel()[np.argsort(bright, axis=None)].astype(int)) >= 0).all(), "grey levels keep the order of brightness"


def test_ones_own_files_are_read_one_behind_the_other(tmp_path):
    for name, text in (("a.txt", "first " * 200), ("b.txt", "second " * 200)):
        (tmp_path / name).write_text(text)
    corpus = load_corpus((str(tmp_path / "a.txt"), str(tmp_path / "b.txt")))
    assert corpus.tokens.tobytes() == b"first " * 200 + b"second " * 200 and corpus.name == "a.txt+b.txt"
    assert corpus.digest != load_corpus(str(tmp_path / "a.txt")).digest


def test_a_binary_file_is_taken_and_told_from_a_text(tmp_path, english):
    (tmp_path / "weights.bin").write_bytes(bytes(range(256)) * 40)
    assert looks_binary(load_corpus(str(tmp_path / "weights.bin"))) and not looks_binary(english)


def test_what_is_no_text_is_refused_in_one_line(tmp_path):
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "short.txt").write_text("To be")
    (tmp_path / "closed.txt").write_text("secret " * 999)
    (tmp_path / "closed.txt").chmod(0)
    refused = {"empty.txt": "not a byte", "short.txt": "too short", ".": "directory", "missing.txt": "no such file"}
    if os.geteuid():   # root may read anything
        refused["closed.txt"] = "can't be read"
    for name, reason in refused.items():
        with pytest.raises(DataError, match=reason) as error:
            load_corpus(str(tmp_path / name))
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="did you mean python"):
        load_corpus("pyton")
    with pytest.raises(DataError, match="grey levels"):
        load_corpus("pixels-7", levels=1)
    assert all(name in str(pytest.raises(DataError, load_corpus, "klingon").value) for name in DATASETS)
