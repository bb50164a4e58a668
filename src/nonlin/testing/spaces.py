"""Is a space what a search expects: codes, indices and expressions agree, and moves stay inside?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nonlin.errors import NonlinError
from nonlin.expr import Expr, parse
from nonlin.expr.identity import same_function
from nonlin.strategies import Space
from nonlin.strategies import space as space_by_name
from nonlin.strategies.moves import MOVES, crossover, mutate
from nonlin.strategies.sketch import sketch
from nonlin.testing.errors import expect


def check_space(which: str | Path | Space, draws: int = 60, seed: int = 0) -> None:
    """Check a space on random expressions of it; CheckError with the first fault.

    Checked are: index, code and expression lead to each other; formulas can be read back; every move stays inside; the
    space has functions worth training; and it survives being stored.

    Parameters
    ----------
    which : a name, the path of a .toml file, or a `Space`
    draws : how many expressions to look at
    """
    space = space_by_name(which)
    generator = np.random.default_rng(seed)
    expect(space.size >= 1, f"space {space.name} holds no expression.")
    codes = [space.code(0), space.code(space.size - 1), *(space.sample_code(generator) for _ in range(draws))]
    for code in codes:
        expect(space.code(space.index(code)) == code, f"index and code of {code} do not agree in space {space.name}.")
        expr = space.decode(code)
        _check_text(space, expr)
        again = space.encode(expr)
        expect(again is not None, f"{expr} of space {space.name} is not found in it again.")
        assert again is not None
        other = space.decode(again)
        expect(
            expr == other or same_function(expr, other),
            f"{expr} of space {space.name} is found in it as another function, {other}.",
        )
        for move in MOVES:
            space.index(mutate(space, code, generator, move))  # SearchError if it left the space
        space.index(crossover(space, code, codes[0], generator))
    ordinary = sketch(space, codes).ordinary()
    expect(
        bool(ordinary.any()),
        f"none of {len(codes)} expressions of space {space.name} is worth training: all are constant, straight lines "
        "or not finite for |x| ≤ 3. Give it functions that bend.",
    )
    restored = Space.from_definition(space.definition())
    expect(restored == space, f"space {space.name} does not survive being stored.")


def _check_text(space: Space, expr: Expr) -> None:
    try:
        read = parse(str(expr))
    except NonlinError as error:
        expect(False, f"an expression of space {space.name} cannot be read back: {error}")
        return
    expect(read == expr, f"{expr} of space {space.name} is read back as {read}, another tree.")
