from __future__ import annotations

import pytest
import torch
import torch_geometric.transforms as T
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from pyg_vig.graph import KNNGraph
from pyg_vig.transforms import ImageGraphDataset, ImageToGraph, ToSuperpixels, to_image, to_image_dataset


class Images:
    """A torchvision-like dataset that counts how often it is read."""

    def __init__(self, count: int = 6, seed: int = 0) -> None:
        self.pixels = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
        self.reads = 0

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if index >= len(self):
            raise IndexError(index)
        self.reads += 1
        return self.pixels[index], index % 3


TO_GRAPH = ImageToGraph(4, k=3)


def test_holds_the_graph_of_every_image(tmp_path):
    images = Images()
    dataset = ImageGraphDataset(tmp_path, images, TO_GRAPH, log=False)
    assert len(dataset) == 6
    assert dataset.num_classes == 3
    for index, data in enumerate(dataset):
        expected = TO_GRAPH(images[index])
        assert sorted(data.keys()) == sorted(expected.keys())
        assert all(torch.equal(data[key], expected[key]) for key in data.keys())  # noqa: SIM118
    (batch,) = DataLoader(dataset, batch_size=6)
    assert batch.grid.tolist() == [[4, 4]] * 6


def test_takes_composed_transforms(tmp_path):
    dataset = ImageGraphDataset(tmp_path, Images(), T.Compose([TO_GRAPH, T.AddSelfLoops(), T.Distance()]), log=False)
    assert dataset[0].edge_attr.shape == (dataset[0].num_edges, 1)


def test_second_time_comes_from_the_disk(tmp_path):
    first, images = ImageGraphDataset(tmp_path, Images(), TO_GRAPH, log=False), Images()
    second = ImageGraphDataset(tmp_path, images, ImageToGraph(4, k=3), log=False)
    assert images.reads == 6  # once each, to identify the dataset
    assert torch.equal(second[5].edge_index, first[5].edge_index)
    assert [path.name for path in tmp_path.iterdir()] == [first.path.name]


@pytest.mark.parametrize(
    ("images", "to_graph"),
    [(Images(seed=1), TO_GRAPH), (Images(5), TO_GRAPH), (Images(), ImageToGraph(4, k=2)), (Images(), ToSuperpixels(4))],
)
def test_other_images_or_graphs_have_another_file(tmp_path, images, to_graph):
    first = ImageGraphDataset(tmp_path, Images(), TO_GRAPH, log=False)
    second = ImageGraphDataset(tmp_path, images, to_graph, log=False)
    assert first.path != second.path


def test_any_other_image_or_label_makes_another_file(tmp_path):
    changed, relabelled = Images(), [(image, label + (index == 2)) for index, (image, label) in enumerate(Images())]
    changed.pixels[3] = 0
    every = (Images(), changed, relabelled)
    assert len({ImageGraphDataset(tmp_path, images, TO_GRAPH, log=False).path for images in every}) == 3


def test_settings_that_a_transform_keeps_to_itself_count(tmp_path):
    transforms = [T.Compose([TO_GRAPH, T.AddSelfLoops("edge_attr", value)]) for value in (1.0, 2.0, 1.0)]
    paths = [ImageGraphDataset(tmp_path, Images(), transform, log=False).path for transform in transforms]
    assert paths[0] == paths[2] != paths[1]


def test_a_transform_that_does_not_say_its_settings_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must show its settings"):
        ImageGraphDataset(tmp_path, Images(), lambda pair: TO_GRAPH(pair), log=False)


def test_a_run_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def raise_disk_full(content, path):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", raise_disk_full)
    with pytest.raises(OSError, match="no space"):
        ImageGraphDataset(tmp_path, Images(), TO_GRAPH, log=False)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert len(ImageGraphDataset(tmp_path, Images(), TO_GRAPH, log=False)) == 6


def test_file_holds_plain_tensors(tmp_path):
    path = ImageGraphDataset(tmp_path, Images(), TO_GRAPH, log=False).path
    content, slices = torch.load(path, weights_only=True)
    assert sorted(content) == sorted(slices) == ["edge_index", "grid", "pos", "x", "y"]


def test_transform_at_every_access(tmp_path):
    def mark(data: Data) -> Data:
        data.marked = True
        return data

    dataset = ImageGraphDataset(tmp_path, Images(), TO_GRAPH, mark, log=False)
    assert dataset[2].marked


def test_single_image(tmp_path):
    for _ in range(2):
        dataset = ImageGraphDataset(tmp_path, Images(1), TO_GRAPH, log=False)
        assert len(dataset) == 1
        assert dataset[0].x.shape == (16, 48)


def test_no_images(tmp_path):
    with pytest.raises(ValueError, match="at least one image"):
        ImageGraphDataset(tmp_path, [], TO_GRAPH)


@pytest.mark.slow
def test_several_processes_make_the_same(tmp_path):
    alone = ImageGraphDataset(tmp_path / "alone", Images(), TO_GRAPH, log=False)
    helped = ImageGraphDataset(tmp_path / "helped", Images(), TO_GRAPH, num_workers=2, log=False)
    assert all(torch.equal(a.x, b.x) for a, b in zip(alone, helped, strict=True))


class TestBack:
    def test_images_come_back_as_they_were(self, tmp_path):
        images = Images()
        back = to_image_dataset(ImageGraphDataset(tmp_path, images, ImageToGraph((4, 8), k=3), log=False))
        assert len(back) == 6
        for index in range(6):
            image, label = back[index]
            assert torch.equal(image, images.pixels[index])
            assert label == index % 3
        pixels, labels = next(iter(torch.utils.data.DataLoader(back, batch_size=6)))
        assert pixels.shape == (6, 3, 16, 16)
        assert labels.tolist() == [0, 1, 2, 0, 1, 2]

    def test_vector_labels(self):
        label = torch.tensor([0, 1, 1])
        assert torch.equal(to_image_dataset([TO_GRAPH((torch.rand(3, 8, 8), label))])[0][1], label)

    def test_graph_without_label(self):
        with pytest.raises(ValueError, match="graph 0 has no label"):
            to_image_dataset([TO_GRAPH(torch.rand(3, 8, 8))])[0]

    def test_graph_of_no_image(self):
        with pytest.raises(ValueError, match="made by ImageToGraph"):
            to_image(Data(x=torch.rand(4, 3)))


def test_images_in_bfloat16(tmp_path):
    images = [(image.bfloat16(), label) for image, label in Images()]
    assert ImageGraphDataset(tmp_path, images, ImageToGraph(2, k=4), log=False)[0].x.dtype == torch.bfloat16


def test_settings_of_graph_builders_and_large_tensors_count(tmp_path):
    graphs = [ImageToGraph(4, graph=KNNGraph(3, loop=loop)) for loop in (True, False)]
    shifts = [T.Compose([TO_GRAPH, Shift(torch.arange(2000.0) * scale)]) for scale in (1, 2)]
    for first, second in (graphs, shifts):
        paths = [ImageGraphDataset(tmp_path, Images(), to_graph, log=False).path for to_graph in (first, second)]
        assert paths[0] != paths[1]


class Shift(T.BaseTransform):
    def __init__(self, values: torch.Tensor) -> None:
        self.values = values

    def forward(self, data: Data) -> Data:
        data.shift = self.values.mean()
        return data
