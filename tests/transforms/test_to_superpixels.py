from __future__ import annotations

import pytest
import torch
import torch_geometric.transforms as T
from torch_geometric.data import Batch, Data
from torch_geometric.utils import is_undirected

from pyg_vig.transforms import ToSuperpixels, to_image

skimage = pytest.importorskip("skimage")


@pytest.fixture
def quarters() -> torch.Tensor:
    """Image of four quarters in four colours."""
    image = torch.zeros(3, 32, 48)
    image[0, :16] = 1
    image[1, :, 24:] = 1
    return image


@pytest.fixture
def photo() -> torch.Tensor:
    return torch.from_numpy(skimage.data.astronaut()[::4, ::4].copy()).permute(2, 0, 1) / 255


def test_quarters(quarters):
    data = ToSuperpixels(4, compactness=0.1)((quarters, 7))
    assert data.x.shape == (4, 6)
    assert data.pos.tolist() == [[12, 8], [36, 8], [12, 24], [36, 24]]
    torch.testing.assert_close(data.x[:, :3], torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]]))
    torch.testing.assert_close(data.x[:, 3:5], data.pos / torch.tensor([48, 32]))
    assert data.x[:, 5].tolist() == [0.25] * 4
    assert data.edge_index.tolist() == [[1, 2, 0, 3, 0, 3, 1, 2], [0, 0, 1, 1, 2, 2, 3, 3]]  # no diagonal edges
    assert data.y.tolist() == [7]
    assert "segmentation" not in data


def test_each_number_is_what_it_says(photo):
    data = ToSuperpixels(60, keep_segmentation=True)(photo)
    segmentation = data.segmentation[0]
    assert data.num_nodes == int(segmentation.max()) + 1 == data.pos.size(0)
    for node in range(data.num_nodes):
        mask = segmentation == node
        y, x = mask.nonzero().float().add(0.5).mean(0).tolist()
        torch.testing.assert_close(data.pos[node], torch.tensor([x, y]))
        torch.testing.assert_close(data.x[node, :3], photo[:, mask].mean(1))
        torch.testing.assert_close(data.x[node, 5], mask.float().mean())


def test_edges_are_the_regions_that_touch(photo):
    data = ToSuperpixels(60, keep_segmentation=True)(photo)
    rows = data.segmentation[0].tolist()
    touching = set()
    for y, row in enumerate(rows):
        for x, label in enumerate(row):
            touching |= {(label, row[x + 1])} if x + 1 < len(row) else set()
            touching |= {(label, rows[y + 1][x])} if y + 1 < len(rows) else set()
    expected = {pair for a, b in touching if a != b for pair in ((a, b), (b, a))}
    assert set(zip(*data.edge_index.tolist(), strict=True)) == expected
    assert data.num_edges == len(expected)
    assert is_undirected(data.edge_index)
    assert (data.edge_index[1].diff() >= 0).all()


def test_grey_images_are_segmented_by_their_value():
    image = torch.zeros(28, 28)
    image[:, 11:] = 1
    data = ToSuperpixels(16)(image)
    assert data.x.size(1) == 4
    crosses_the_edge = (data.x[:, 0] > 0) & (data.x[:, 0] < 1)
    assert data.x[crosses_the_edge, 3].sum() < 0.02  # share of the image; 1/4 if superpixels ignored the values


def test_one_colour_gives_at_least_one_superpixel():
    data = ToSuperpixels(1)(torch.ones(3, 8, 8))
    assert data.x[:, 5].sum() == 1


def test_mean_colours_as_an_image(quarters):
    data = ToSuperpixels(4, compactness=0.1, keep_segmentation=True)(quarters)
    torch.testing.assert_close(to_image(data), quarters)


def test_batches_and_composes(photo, quarters):
    transform = T.Compose([ToSuperpixels(20, sigma=1), T.AddSelfLoops()])
    batch = Batch.from_data_list(
        [transform(Data(image=photo, y=torch.tensor([0]))), transform(Data(image=quarters, y=torch.tensor([1])))]
    )
    assert batch.y.tolist() == [0, 1]
    assert batch.x.size(1) == 6
    assert torch.equal(batch.batch[batch.edge_index[0]], batch.batch[batch.edge_index[1]])


def test_segmentations_stack(quarters):
    transform = ToSuperpixels(4, keep_segmentation=True)
    assert Batch.from_data_list([transform(quarters)] * 3).segmentation.shape == (3, 32, 48)


def test_input_is_left_as_it_was(photo):
    before = photo.clone()
    ToSuperpixels(20)(photo)
    assert torch.equal(photo, before)


def test_bad_options_and_names():
    with pytest.raises(ValueError, match="got 0"):
        ToSuperpixels(0)
    assert repr(ToSuperpixels(20, sigma=1)) == (
        "ToSuperpixels(n_segments=20, compactness=10.0, keep_segmentation=False, sigma=1)"
    )


def test_without_scikit_image(monkeypatch, quarters):
    monkeypatch.setitem(__import__("sys").modules, "skimage.segmentation", None)
    with pytest.raises(ValueError, match="needs scikit-image"):
        ToSuperpixels()(quarters)


def test_large_superpixels_in_half_precision():
    image = torch.rand(3, 4, 4).repeat_interleave(128, 1).repeat_interleave(128, 2)
    precise, half = (ToSuperpixels(n_segments=4)(pixels) for pixels in (image.half().float(), image.half()))
    assert half.x.dtype == half.pos.dtype == torch.float16
    torch.testing.assert_close(half.pos.float(), precise.pos, atol=0.25, rtol=0)
    torch.testing.assert_close(half.x.float(), precise.x, atol=1e-3, rtol=0)
