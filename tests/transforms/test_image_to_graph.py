from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
import torch_geometric.transforms as T
from PIL import Image
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

import pyg_vig
from pyg_vig.graph import GridGraph, grid_graph, knn_graph
from pyg_vig.transforms import ImageToGraph, to_image


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(3, 32, 48)


def test_a_linear_layer_on_x_is_a_convolution_whose_stride_is_its_kernel(image):
    conv = nn.Conv2d(3, 20, kernel_size=(8, 16), stride=(8, 16))
    x = ImageToGraph((8, 16), graph=None)(image).x
    expected = conv(image.unsqueeze(0)).flatten(2)[0].T  # (H_p * W_p, 20)
    torch.testing.assert_close(nn.functional.linear(x, conv.weight.flatten(1), conv.bias), expected)


def test_positions_are_the_centres_of_the_patches(image):
    y, x = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(48) + 0.5, indexing="ij")
    data = ImageToGraph((8, 16), graph=None)(torch.stack([x, y]))
    assert data.grid.tolist() == [[4, 3]]
    torch.testing.assert_close(data.pos, data.x.view(12, 2, 128).mean(-1))  # mean of the pixel positions
    assert "edge_index" not in data


class TestEdges:
    def test_nearest_by_pixels(self, image):
        data = ImageToGraph(8, k=5)(image)
        assert torch.equal(data.edge_index, knn_graph(data.x, 5).as_tensor())

    def test_nearest_by_direction(self, image):
        data = ImageToGraph(8, k=5, cosine=True)(image)
        assert torch.equal(data.edge_index, knn_graph(data.x, 5, cosine=True).as_tensor())

    def test_nearest_by_position(self, image):
        data = ImageToGraph(8, k=5, compare="pos")(image)
        assert torch.equal(data.edge_index, knn_graph(data.pos, 5).as_tensor())

    def test_grid(self, image):
        assert torch.equal(ImageToGraph(8, graph="grid")(image).edge_index, grid_graph(4, 6).as_tensor())

    def test_svga_links_rows_and_columns(self, image):
        source, target = ImageToGraph(8, graph="svga")(image).edge_index
        same_row, same_column = source // 6 == target // 6, source % 6 == target % 6
        assert (same_row | same_column).all()
        assert source.numel() > 0

    def test_builder_of_your_own(self, image):
        data = ImageToGraph(8, graph=lambda: GridGraph(4))(image)
        assert torch.equal(data.edge_index, grid_graph(4, 6, 4).as_tensor())

    def test_more_neighbours_than_patches(self, image):
        with pytest.raises(ValueError, match="k=9 neighbours requested from a graph with 6 nodes"):
            ImageToGraph(16, k=9)(image)

    def test_plain_tensor_that_can_be_saved(self, image):
        data = ImageToGraph(8)(image)
        assert type(data.edge_index) is torch.Tensor
        file = io.BytesIO()
        torch.save(data.to_dict(), file)
        file.seek(0)
        assert torch.equal(torch.load(file, weights_only=True)["edge_index"], data.edge_index)


class TestInput:
    def test_every_form_of_the_same_image(self):
        image = pytest.importorskip("PIL.Image")
        pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
        expected = torch.from_numpy(pixels).permute(2, 0, 1) / 255
        for form in (
            pixels,
            pixels.astype(np.float32) / 255,
            image.fromarray(pixels),
            torch.from_numpy(pixels).permute(2, 0, 1),
            expected,
            expected.unsqueeze(0),
            Data(image=image.fromarray(pixels)),
            Data(x=expected),
        ):
            data = ImageToGraph(8, k=2)(form)
            torch.testing.assert_close(data.x, ImageToGraph(8, k=2)(expected).x)
            assert "image" not in data

    def test_grey_images(self):
        image = pytest.importorskip("PIL.Image")
        pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
        for form in (pixels, torch.from_numpy(pixels), image.fromarray(pixels), pixels[..., None]):
            data = ImageToGraph(4, k=2)(form)
            assert torch.equal(data.x[0], torch.from_numpy(pixels)[:4, :4].flatten() / 255)

    def test_palette_and_binary_images(self):
        image = pytest.importorskip("PIL.Image")
        black_and_red = image.new("P", (8, 8))
        black_and_red.putpalette([0, 0, 0, 255, 0, 0])
        black_and_red.paste(1, (0, 0, 4, 8))
        data = ImageToGraph(4, k=2)(black_and_red)
        assert data.x[0].view(3, 16).mean(1).tolist() == [1, 0, 0]
        assert data.x[1].sum() == 0
        assert ImageToGraph(4, k=2)(image.new("1", (8, 8), 1)).x.unique().tolist() == [1]

    @pytest.mark.parametrize(
        ("label", "y"),
        [(3, [3]), (np.int64(3), [3]), (2.5, [2.5]), (torch.tensor(3), [3]), (torch.tensor([0, 1, 1]), [[0, 1, 1]])],
    )
    def test_pair_with_label(self, image, label, y):
        data = ImageToGraph(16, k=2)((image, label))
        assert data.y.tolist() == y
        assert Batch.from_data_list([data, data]).y.tolist() == y * 2

    def test_data_keeps_what_else_it_has(self, image):
        data = ImageToGraph(16, k=2)(Data(image=image, y=torch.tensor([4]), name="photo"))
        assert data.y.tolist() == [4]
        assert data.name == "photo"

    def test_input_is_left_as_it_was(self, image):
        before, source = image.clone(), Data(image=image, y=torch.tensor([4]))
        ImageToGraph(16, k=2)(source)
        assert sorted(source.keys()) == ["image", "y"]
        data = ImageToGraph(16, k=2)(image)
        data.x.zero_()
        assert torch.equal(image, before)

    def test_double_precision_stays(self, image):
        assert ImageToGraph(16, k=2)(image.double()).x.dtype == torch.float64

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            (torch.rand(2, 3, 8, 8), r"got shape \(2, 3, 8, 8\)"),
            (torch.rand(8), r"got shape \(8,\)"),
            (torch.rand(3, 0, 8), "got shape"),
            (Data(y=1), "a Data with an 'image' or an 'x', got"),
            ((torch.rand(3, 8, 8), 1, 2), "got 3 values"),
            ((torch.rand(3, 8, 8), "cat"), "a label must be a number"),
        ],
    )
    def test_what_is_no_image(self, source, message):
        with pytest.raises(ValueError, match=message):
            ImageToGraph(4)(source)


class TestSizes:
    def test_error_names_the_size_to_resize_to(self):
        with pytest.raises(
            ValueError, match=r"30 x 48 pixels .* 16 x 16: resize or pad it to 32 x 48, or use pad=True"
        ):
            ImageToGraph(16)(torch.rand(3, 30, 48))

    def test_padding_repeats_the_border(self):
        image = torch.rand(3, 30, 45)
        padded = to_image(ImageToGraph(16, graph="grid", pad=True)(image))
        assert padded.shape == (3, 32, 48)
        assert torch.equal(padded[:, :30, :45], image)
        assert torch.equal(padded[:, 31, :45], image[:, 29])
        assert torch.equal(padded[:, :30, 47], image[:, :, 44])

    @pytest.mark.parametrize("options", [{"patch_size": 0}, {"patch_size": (4, 4, 4)}, {"compare": "colour"}])
    def test_bad_options(self, options):
        with pytest.raises(ValueError, match="got"):
            ImageToGraph(**options)

    def test_unknown_graph(self):
        with pytest.raises(ValueError, match="unknown graph 'delaunay'"):
            ImageToGraph(graph="delaunay")


class TestWithPyG:
    def test_composes_and_batches(self):
        transform = T.Compose([ImageToGraph(8, k=4), T.ToUndirected(), T.AddSelfLoops(), T.Distance()])
        images = [transform(Data(image=torch.rand(3, 8 * i, 16), y=i)) for i in (2, 3, 4)]
        (batch,) = DataLoader(images, batch_size=3)
        assert batch.grid.tolist() == [[2, 2], [3, 2], [4, 2]]
        assert batch.y.tolist() == [2, 3, 4]
        assert batch.x.shape == (18, 192)
        assert torch.equal(batch.batch[batch.edge_index[0]], batch.batch[batch.edge_index[1]])

    def test_edges_of_a_batch_stay_sorted(self):
        batch = Batch.from_data_list([ImageToGraph(8, k=4)(torch.rand(3, 8 * i, 16)) for i in (2, 3)])
        assert (batch.edge_index[1].diff() >= 0).all()

    def test_a_network_sees_in_the_batch_what_it_sees_in_the_images(self):
        images = torch.rand(2, 3, 32, 32)
        given, grid = (
            pyg_vig.create_model("vig_nano", stem="patch", graph=graph, patch_size=4).eval()
            for graph in ("given", "grid")
        )
        given.load_state_dict(grid.state_dict())
        batch = Batch.from_data_list([ImageToGraph(4, graph="grid")(image) for image in images])
        torch.testing.assert_close(given(batch), grid(images), rtol=1e-4, atol=1e-5)

    def test_representation_tells_all_options(self):
        text = repr(ImageToGraph(8, graph="grid", k=3, compare="pos", pad=True))
        assert text == "ImageToGraph(patch_size=(8, 8), graph='grid', k=3, compare='pos', cosine=False, pad=True)"

    def test_copies(self, image):
        transform = copy.deepcopy(ImageToGraph(8))
        assert torch.equal(transform(image).edge_index, ImageToGraph(8)(image).edge_index)


def test_pil_s_sixteen_bits_in_any_of_its_modes():
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    expected = ImageToGraph(4, graph=None)(pixels).x
    for mode, kind in (("I;16", "<u2"), ("I;16B", ">u2"), ("I", "<i4")):
        image = Image.frombytes(mode, (8, 8), pixels.astype(kind).tobytes())
        assert torch.equal(ImageToGraph(4, graph=None)(image).x, expected)


def test_a_batch_of_several_is_no_image(image):
    graphs = [ImageToGraph(8, graph="grid")(image)] * 2
    with pytest.raises(ValueError, match=r"expected one graph, got a batch of 2"):
        to_image(Batch.from_data_list(graphs))
    assert torch.equal(to_image(Batch.from_data_list(graphs[:1])), image)


def test_whole_numbers_of_numpy(image):
    assert ImageToGraph(np.int64(4), k=2)(image).x.equal(ImageToGraph(4, k=2)(image).x)
