"""Tapes against the plans that they were written from."""

import copy
import random

import pytest
import torch
from small_networks import NET, X, Y

from nonlin.expr import parse
from nonlin.native import library
from nonlin.native.program import function
from nonlin.native.stacked_activation import Activations
from nonlin.train.plan import Instruction, Plan
from nonlin.train.plans import Plans, State
from nonlin.train.tape import Room, Unwritable, _Watching, write

FORMULAS = ("tanh(x)", "max(x, 0)", "x*sigmoid(b*x)")


def state_of(plans: Plans) -> State:
    """Three children of different weights."""
    generator = torch.Generator().manual_seed(1)
    parameters = {
        name: torch.stack([value.detach()] * 3) + 0.1 * torch.randn(3, *value.shape, generator=generator)
        for name, value in plans.model.named_parameters()
    }
    buffers = {name: torch.stack([value] * 3) for name, value in plans.model.named_buffers()}
    return State(parameters, buffers, frozenset())


@pytest.fixture
def plans():
    """Of a network with BatchNorm, dropout and a parameter of the activation."""
    return Plans(NET, "channel", "common", 1)


def performances(plan, state, batches, tape):
    """Outputs of one step after another, with a step down the gradients between them."""
    torch.manual_seed(5)
    found, names = [], list(state.parameters)
    for place, batch in enumerate(batches):
        if tape and place == 1:
            written, _ = write(plan, None, state.parameters, state.buffers, *batch)
            outputs = written.outputs
        elif tape and place > 1:
            outputs = written.run(*batch)
        else:
            outputs = plan.run(state.parameters, state.buffers, *batch)
        found.append([one.clone() for one in outputs])
        for name, gradient in zip(names, outputs[2:], strict=True):
            state.parameters[name] -= 0.1 * gradient
    return found, torch.get_rng_state()


@pytest.mark.parametrize("core", [True, False])
def test_a_tape_is_the_plan(plans, core, monkeypatch):
    if not core:
        monkeypatch.setattr(library, "_find", lambda: (None, "switched off"))
    batches = [(X[k : k + 10], Y[k : k + 10]) for k in range(0, 60, 10)]
    results = []
    for tape in (False, True):
        state = state_of(plans)
        plan = plans.training(*batches[0], state.shared)
        plan.bind(Activations([function(parse(text)) for text in FORMULAS]))
        results.append((*performances(plan, state, batches, tape), state))
    (plain, generator, before), (taped, same_generator, after) = results
    for one, other in zip(plain, taped, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert torch.equal(generator, same_generator)  # dropout drew the same numbers
    assert all(torch.equal(value, after.buffers[name]) for name, value in before.buffers.items())
    assert not torch.equal(plain[0][0], plain[-1][0])


def test_evaluation_has_a_tape_too(plans):
    state = state_of(plans)
    plan = plans.evaluation(X[:10], state.shared)
    plan.bind(Activations([function(parse(text)) for text in FORMULAS]))
    tape, room = write(plan, None, state.parameters, state.buffers, X[:10])
    (expected,) = plan.run(state.parameters, state.buffers, X[20:30])
    (found,) = tape.run(X[20:30])
    assert torch.equal(found, expected)
    assert room.total < sum(room.sizes)  # memory serves several tensors, one after another


def test_pieces_of_memory_that_live_together_lie_apart():
    rng = random.Random(0)
    for _ in range(50):
        watching = _Watching()
        count = rng.randrange(1, 40)
        watching.sizes = [rng.randrange(0, 500) for _ in range(count)]
        watching.ends = [rng.choice([None, rng.randrange(k + 1, count + 1)]) for k in range(count)]
        room = watching.room()
        for k in range(count):
            for earlier in range(k):
                end = watching.ends[earlier]
                if (end is None or end > k) and room.sizes[k] and room.sizes[earlier]:
                    a, b = sorted((room.offsets[j], room.sizes[j]) for j in (k, earlier))
                    assert a[0] + a[1] <= b[0]
            assert room.offsets[k] + room.sizes[k] <= room.total


def by_hand(*functions):
    """A plan of functions of one tensor, one after another."""
    plan = Plan(recording=copy.copy(_NOTHING), shared=frozenset())
    plan.instructions = [Instruction(one, (k,), k + 1) for k, one in enumerate(functions)]
    plan.size, plan.outputs = len(functions) + 1, [len(functions)]
    return plan


class _Nothing:
    parameters, buffers = (), ("x",)


_NOTHING = _Nothing()


@pytest.mark.parametrize(
    ("looks", "reason"),
    [
        (lambda x: x * float(x.sum()), "numbers that change"),
        (lambda x: x[x > 0], "numbers that change"),
        (lambda x: x.to_sparse(), "numbers that change|than a tensor in memory"),
    ],
    ids=["a number", "a number of elements", "sparse"],
)
def test_what_cannot_be_written_down_changes_nothing(looks, reason):
    def changes(x):
        return x.add_(torch.rand(3))

    buffers = {"x": torch.ones(3)}
    plan = by_hand(changes, looks)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with pytest.raises(Unwritable, match=reason):
        write(plan, None, {}, buffers)
    assert torch.equal(buffers["x"], torch.ones(3))
    assert torch.equal(torch.get_rng_state(), before)


def test_another_room_is_noticed():
    buffers = {"x": torch.ones(3)}
    with pytest.raises(Unwritable, match="other tensors"):
        write(by_hand(torch.exp), Room((8,), (0,), 64), {}, buffers)
    with pytest.raises(Unwritable, match="other tensors"):
        write(by_hand(torch.exp), Room((12, 12), (0, 64), 128), {}, buffers)


def test_every_kind_of_operation_is_made_again():
    """With a place for results and without, in place, views, several results, constants made on the way."""

    def kinds(x):
        values, places = x.reshape(2, 3).sort(dim=1, descending=True)
        whole = torch.arange(6.0).reshape(2, 3) + torch.zeros(2, 3).scatter_(1, places, values)
        whole[0] = whole[1].exp()
        normal, mean, _ = torch.ops.aten._native_batch_norm_legit(
            whole, None, None, running, running.clone(), True, 0.1, 1e-5
        )  # changes a tensor, and makes others
        picked = whole[:, torch.tensor([2, 0])]
        parts = (
            whole.mT.contiguous().flatten(),
            torch.linspace(0, 1, 2),
            x.clone(),
            normal.flatten(),
            mean,
            running,
            picked,
        )
        return torch.cat([one.flatten() for one in parts])

    running = torch.zeros(3)
    buffers = {"x": torch.randn(6, generator=torch.Generator().manual_seed(0))}
    plan = by_hand(kinds)
    tape, _ = write(plan, None, {}, buffers)
    for _ in range(3):
        buffers["x"].copy_(torch.randn(6))
        before = running.clone()
        (expected,) = plan.run({}, buffers)
        running.copy_(before)
        (found,) = tape.run()
        assert torch.equal(found, expected)
        assert not torch.equal(running, before)
