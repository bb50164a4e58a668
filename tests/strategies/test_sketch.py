"""Sketches: kept ones are those made anew, and looked-up values those computed."""

import numpy as np
import torch

from nonlin.strategies import sketch as module
from nonlin.strategies import space
from nonlin.strategies.evaluate import evaluate
from nonlin.strategies.memory import Memory
from nonlin.strategies.moves import draw
from nonlin.strategies.sketch import Sketchbook, Sketches, sketch


def test_tables_change_no_value():
    generator = np.random.default_rng(0)
    x = torch.linspace(-3, 3, 16, dtype=torch.float64)
    parameters = torch.linspace(0.5, 1.5, 7, dtype=torch.float64)[:, None].expand(7, 16)
    for name in ("core-1", "core-2", "core-2-free", "surrogate-paper"):
        where = space(name)
        for number, shape in enumerate(where.shapes):
            codes = np.array([[generator.integers(slot.count) for slot in shape.slots] for _ in range(40)])
            tables = {}
            for _ in range(2):  # once to fill the tables, once to read them
                found = evaluate(shape, codes, x, parameters, tables)
                assert torch.allclose(found, evaluate(shape, codes, x, parameters), rtol=1e-13, equal_nan=True), number


def test_a_book_keeps_what_sketches_say(monkeypatch):
    monkeypatch.setattr(module, "KEPT", 300)  # so that it begins anew on the way
    where, generator = space("core-1"), np.random.default_rng(0)
    book = Sketchbook(where, Sketches.outputs)
    for _ in range(12):
        codes = draw(where, 70, generator)
        codes += codes[:5]
        rows, fresh = book.look(codes), sketch(where, codes)
        assert [book.good[row] for row in rows] == fresh.ordinary().tolist()
        assert [book.keys[row] for row in rows] == fresh.keys()
        np.testing.assert_allclose(book.seen(codes), fresh.outputs(), atol=1e-6)
    assert len(book.rows) <= 300


def test_drawn_codes_are_uniform():
    where = space("core-1")
    codes = np.array(draw(where, 20_000, np.random.default_rng(0)))
    for place, slot in enumerate(where.slots()):
        counts, expected = np.bincount(codes[:, place], minlength=slot.count), 20_000 / slot.count
        assert ((counts - expected) ** 2 / expected).sum() < slot.count - 1 + 4 * np.sqrt(2 * slot.count)


def test_rows_of_a_book_that_are_fresh():
    """The same functions as `fresh` finds one by one, in a whole book and in one that is not."""
    for name in ("core-1", "core-2"):
        where, generator = space(name), np.random.default_rng(0)
        memory = Memory(where)
        for _ in range(30):
            memory.ask(memory.anything(generator))
        codes = draw(where, 300, generator) + memory.codes[:5]
        expected = {memory.key(codes[place]) for place in memory.fresh(codes)}
        rows = memory.fresh_rows(np.array(memory.book.look(codes)))
        assert {memory.book.keys[row] for row in rows} == expected
        assert len(rows) == len(expected)
        assert memory.book.look([memory.book.codes[row] for row in rows]) == rows.tolist()
