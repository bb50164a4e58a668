"""Parts of batches, and shares of processes: the same gradients in another order."""

import pytest
import torch
from small_networks import DATA, NET, PLAIN, with_budget

import nonlin as nl
from nonlin.train import fit
from nonlin.train.batches import pieces
from nonlin.train.ranks import Ranks
from nonlin.train.score import IGNORED


def rows_of(count, rank, batch_size=16, accumulate=1, rows=50):
    data = nl.Data((torch.arange(rows)[:, None], torch.arange(rows) % 3), DATA.validation, DATA.test)
    return list(pieces(data, torch.arange(rows), batch_size, 0, 1, accumulate=accumulate, ranks=Ranks(rank, count)))


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2, 5])
def test_every_row_counts_once(count, accumulate):
    ranks = [rows_of(count, rank, accumulate=accumulate) for rank in range(count)]
    counted = [row for parts in ranks for part in parts if part.weight for row in part.x.flatten().tolist()]
    assert sorted(counted) == list(range(50))
    for parts in ranks:
        assert sum(part.last for part in parts) == sum(part.first for part in parts) == 4  # steps
    assert sum(part.share for parts in ranks for part in parts) == pytest.approx(4)


def test_a_process_without_rows_takes_part_with_weight_0():
    parts = [rows_of(2, rank, batch_size=49) for rank in (0, 1)]
    assert [part.weight for part in parts[0]] == [25, 1]
    assert [part.weight for part in parts[1]] == [24, 0]
    assert parts[1][1].share == 0
    assert parts[1][1].last


def test_positions_that_do_not_count_have_no_share():
    y = torch.tensor([[1, 2, IGNORED], [1, IGNORED, IGNORED], [0, 1, 2], [IGNORED, IGNORED, 1]])
    data = nl.Data((torch.zeros(4, 1), y), DATA.validation, DATA.test)
    shares = [part.share for part in pieces(data, torch.arange(4), 4, 0, 1, accumulate=2)]
    assert shares == pytest.approx([3 / 7, 4 / 7])


@pytest.mark.parametrize("accumulate", [2, 3, 16])
@pytest.mark.parametrize("clip", [{}, {"clip_norm": 0.5}], ids=str)
def test_accumulation_gives_the_same_training(accumulate, clip):
    task = with_budget(PLAIN, **clip)
    whole, parts = fit(task, "swish"), fit(with_budget(task, accumulate=accumulate), "swish")
    for curve, values in whole.curves.items():
        assert parts.curves[curve] == pytest.approx(values, rel=2e-4), curve
    assert fit(task, "swish", accumulate=accumulate).curves == parts.curves


def test_with_batch_norm_parts_have_statistics_of_their_own():
    whole, parts = fit(NET, "relu"), fit(NET, "relu", accumulate=2)
    assert parts.curves["loss"] != pytest.approx(whole.curves["loss"], rel=2e-4)
