"""Images in memory: scaling, and augmentation that depends on seed, epoch and row alone."""

import pytest
import torch
from cifar_files import random_images
from torch.nn import functional as F

from nonlin.tasks import Data
from nonlin.tasks.pictures.pixels import Pixels


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(random_images(300, 10)[0])


def test_scaled_by_the_first_part(images):
    train, other = Pixels.measured(images[:200], images[200:])
    x = train[:]
    assert torch.allclose(x.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(x.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-4)
    plain = images[:200].float()
    expected = (images[200:].float() - plain.mean(dim=(0, 2, 3), keepdim=True)) / plain.std(dim=(0, 2, 3), keepdim=True)
    assert torch.allclose(other[:], expected, atol=1e-4)
    flat = Pixels.measured(torch.full((2, 3, 4, 4), 7, dtype=torch.uint8))[0]
    assert not flat[:].any()


def test_it_is_as_good_as_a_tensor(images):
    pixels = Pixels.measured(images)[0]
    whole = pixels[:]
    assert len(pixels) == 300
    assert pixels.shape == whole.shape
    assert pixels.dim() == 4
    assert pixels.is_floating_point()
    assert torch.equal(pixels[torch.tensor([3, -1])], whole[torch.tensor([3, -1])])
    assert torch.equal(pixels[2:9:3], whole[2:9:3])
    assert torch.equal(pixels[5], whole[5])
    assert torch.equal(pixels[whole[:, 0, 0, 0] > 0], whole[whole[:, 0, 0, 0] > 0])
    assert torch.equal(torch.cat(list(pixels.split(128))), whole)
    with pytest.raises(IndexError):
        pixels[torch.tensor([300])]


def test_every_image_is_a_crop_of_its_own(images):
    """Found by trying all 9·9·2 crops, which were made in another way."""
    pixels = Pixels.measured(images)[0]
    seen = pixels.augmented(torch.arange(300), seed=0, epoch=1)
    crops = {}
    for row in range(300):
        padded = F.pad(pixels[row], (4, 4, 4, 4))
        for down in range(9):
            for right in range(9):
                crop = padded[:, down : down + 32, right : right + 32]
                for flip, candidate in enumerate((crop, crop.flip(2))):
                    if torch.equal(seen[row], candidate):
                        crops[row] = (down, right, flip)
    assert len(crops) == 300
    for place, count in ((0, 9), (1, 9), (2, 2)):
        values = torch.tensor([crop[place] for crop in crops.values()])
        shares = torch.bincount(values, minlength=count) / 300
        assert len(shares) == count
        assert float((shares - 1 / count).abs().max()) < 0.09  # four deviations of 300 draws, and more


def test_draws_belong_to_seed_epoch_and_row(images):
    pixels = Pixels.measured(images)[0]
    rows = torch.tensor([9, 4, 250])
    first = pixels.augmented(rows, 3, 7)
    assert not torch.equal(first, pixels.augmented(rows, 3, 8))
    assert not torch.equal(first, pixels.augmented(rows, 4, 7))
    assert torch.equal(first, pixels.augmented(rows, 3, 7))
    assert torch.equal(first[1:], pixels.augmented(rows[1:], 3, 7))
    assert torch.equal(first, pixels.augmented(torch.arange(300), 3, 7)[rows])
    assert torch.equal(first[:2], pixels.first(10).augmented(rows[:2], 3, 7))  # a subset sees what the whole saw
    state = torch.get_rng_state()
    pixels.augmented(rows, 5, 5)
    assert torch.equal(state, torch.get_rng_state())


def test_batches_of_data(images):
    train, rest = Pixels.measured(images[:200], images[200:])
    labels = torch.arange(300) % 10
    data = Data((train, labels[:200]), (rest, labels[200:]), (rest, labels[200:]))
    order = torch.randperm(200)
    plain = list(data.batches("train", order, 64))
    assert [len(y) for _, y in plain] == [64, 64, 64, 8]
    assert torch.equal(torch.cat([x for x, _ in plain]), train[order])
    assert torch.equal(torch.cat([y for _, y in plain]), labels[:200][order])
    by_64 = torch.cat([x for x, _ in data.batches("train", order, 64, seed=1, epoch=2)])
    by_50 = torch.cat([x for x, _ in data.batches("train", order, 50, seed=1, epoch=2)])
    assert torch.equal(by_64, by_50)
    late = torch.cat([x for x, _ in data.batches("train", order[100:], 50, seed=1, epoch=2)])
    assert torch.equal(by_50[100:], late)
    tensors = Data((train[:], labels[:200]), (rest[:], labels[200:]), (rest[:], labels[200:]))
    again = torch.cat([x for x, _ in tensors.batches("train", order, 64, seed=1, epoch=2)])
    assert torch.equal(again, train[order])  # a plain tensor has no augmentation


def test_fingerprint(images):
    one = Pixels.measured(images)[0].fingerprint()
    assert one == Pixels.measured(images.clone())[0].fingerprint()
    changed = images.clone()
    changed[0, 0, 0, 0] += 1
    assert one != Pixels.measured(changed)[0].fingerprint()
