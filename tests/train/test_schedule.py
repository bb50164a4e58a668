"""Learning rates over the steps against their closed forms, and in the optimiser itself."""

import math

import pytest
import torch
from small_networks import PLAIN, figures, with_budget
from torch import nn

import nonlin as nl
from nonlin.train import fit
from nonlin.train.optimise import Stepper
from nonlin.train.schedule import factor, total_steps


def rates(total=100, **settings):
    budget = nl.Budget(**settings)
    return [factor(budget, step, total) for step in range(total)]


def test_constant_with_warmup():
    found = rates(10, warmup=4)
    assert found == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]
    assert rates(3) == [1, 1, 1]


def test_cosine_equals_torch():
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)
    for found in rates(schedule="cosine"):
        assert found == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_linear_ends_one_step_before_zero():
    found = rates(schedule="linear", warmup=20)
    assert found[19] == found[20] == 1
    assert found[-1] == pytest.approx(1 / 80)
    assert found[60] == pytest.approx(0.5)


def test_steps_fall_at_their_shares():
    found = rates(schedule="step", milestones=(0.3, 0.6, 0.8), decay=0.2)
    assert [found[step] for step in (29, 30, 59, 60, 79, 80)] == pytest.approx([1, 0.2, 0.2, 0.04, 0.04, 0.008])


def test_inverse_square_root_peaks_where_the_warmup_ends():
    # [Vaswani2017], eq. 3, divided by its own peak value
    found = rates(schedule="inverse-sqrt", warmup=25)
    for number, value in enumerate(found, start=1):
        assert value == pytest.approx(min(number**-0.5, number * 25**-1.5) * math.sqrt(25))
    assert max(found) == found[24] == 1


@pytest.mark.parametrize(("settings", "steps"), [({}, 16), ({"steps": 6}, 6), ({"steps": 99}, 16)], ids=str)
def test_total_steps(settings, steps):
    assert total_steps(nl.Budget(epochs=4, batch_size=16, **settings), 50) == steps


def test_the_optimiser_gets_the_rate():
    model = nn.Linear(2, 1)
    budget = nl.Budget(learning_rate=0.1, schedule="linear", warmup=2, optimizer="sgd", nesterov=True)
    stepper = Stepper(model, budget, 6)
    seen = []
    for step in range(6):
        stepper.begin(step)
        seen.append(stepper.optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([0.05, 0.1, 0.1, 0.075, 0.05, 0.025])
    assert stepper.optimizer.defaults["nesterov"]
    other = Stepper(model, nl.Budget(betas=(0.9, 0.98)), 1)
    assert other.optimizer.defaults["betas"] == (0.9, 0.98)


def test_a_training_of_steps_ends_in_the_middle_of_an_epoch():
    whole, cut = fit(PLAIN, "relu"), fit(with_budget(PLAIN, steps=6), "relu")
    assert (whole.epochs, cut.epochs) == (4, 2)
    assert cut.curves["loss"][0] == whole.curves["loss"][0]
    assert cut.curves["loss"][1] != whole.curves["loss"][1]
    assert len(cut.curves["train_loss"]) == 2
    halved = with_budget(PLAIN, schedule="step", milestones=(0.5,), decay=1.0)
    assert figures(fit(halved, "relu")) == figures(whole)


def test_label_smoothing_equals_a_mixture_of_losses():
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(9, 4, generator=generator), torch.randint(4, (9,), generator=generator)
    from nonlin.train.score import task_loss

    log = logits.log_softmax(1)
    expected = -(0.9 * log[torch.arange(9), target] + 0.1 * log.mean(1)).mean()
    assert float(task_loss(logits, target, 0.1)) == pytest.approx(float(expected), rel=1e-6)
    smooth, sharp = (fit(with_budget(PLAIN, label_smoothing=value), "relu") for value in (0.2, 0.0))
    assert smooth.curves["train_loss"][-1] > sharp.curves["train_loss"][-1]
