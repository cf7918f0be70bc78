"""Network configurations as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, ClassVar

from pyg_vig.graph import GraphSpec
from pyg_vig.graph.resolver import graph_name
from pyg_vig.nn.conv import ConvSpec


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Configuration fields shared by all networks.

    Args:
        num_classes: width of the output; 0 omits the classifier.
        in_channels: number of image channels.
        image_size: image side in pixels for which position terms and dilations are computed; other sizes work too.
        conv: graph convolution, see :func:`~pyg_vig.nn.conv_resolver`.
        conv_kwargs: further arguments for its constructor.
        graph: graph builder, see :func:`~pyg_vig.graph.graph_resolver`.
        graph_kwargs: further arguments for its constructor.
        k: number of neighbours of each node in the k-NN graph; a sequence gives one value per block.
        dilated: whether the dilation of the k-NN graph grows with depth.
        epsilon: probability, in training, of choosing neighbours at random among the nearest ``k * dilation`` in the
            k-NN graph.
        heads: number of groups in the update of the graph convs.
        act: PyTorch name of the activation, used everywhere.
        norm: norm of the graph convs (``"batch"``, ``"layer"``, ``None``); all other layers use batch norm.
        bias: whether the linear layers of the graph convs have a bias.
        grapher_fc: whether linear layers surround every graph conv (Table 7 of the paper).
        ffn: whether every block has an FFN (Table 7 of the paper).
        position: whether to add position terms.
        head_channels: width of the head's hidden layer.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth rate of the last block; the rate grows linearly from 0 in the first.
        distilled: whether to add a second classifier for distillation; the network then returns both outputs in
            training mode, their mean in evaluation mode.
        classes: class names, if known from training.
        crop: fraction of the shorter side that the centre crop keeps in evaluation.

    Attributes:
        mean: per-channel mean subtracted from pixels in [0, 1], as for the published weights.
        std: per-channel standard deviation by which the result is divided.

    Example:
        >>> from pyg_vig.models import get_config
        >>> get_config("pvig_ti").num_classes
        1000
    """

    mean: ClassVar[tuple[float, float, float]] = (0.5, 0.5, 0.5)
    std: ClassVar[tuple[float, float, float]] = (0.5, 0.5, 0.5)

    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224
    conv: ConvSpec = "max_relative"
    conv_kwargs: dict[str, Any] = field(default_factory=dict)
    graph: GraphSpec = "knn"
    graph_kwargs: dict[str, Any] = field(default_factory=dict)
    k: int | Sequence[int] = 9
    dilated: bool = True
    epsilon: float = 0.0
    heads: int = 4
    act: str = "gelu"
    norm: str | None = "batch"
    bias: bool = True
    grapher_fc: bool = True
    ffn: bool = True
    position: bool = True
    head_channels: int = 1024
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    distilled: bool = False
    classes: Sequence[str] | None = None
    crop: float = 0.9

    def __post_init__(self) -> None:
        object.__setattr__(self, "graph", graph_name(self.graph))
        self._require_integers("in_channels", "image_size", "heads", "head_channels")
        self._require_integers("num_classes", minimum=0)
        for name in ("drop_rate", "drop_path_rate", "epsilon"):
            value = getattr(self, name)
            require(isinstance(value, Real), name, value, "a probability in [0, 1]")
            require(0 <= value <= 1, name, value, "a probability in [0, 1]")
        for name in ("conv_kwargs", "graph_kwargs"):
            require(isinstance(getattr(self, name), dict), name, getattr(self, name), "a dictionary of arguments")
        valid = self.classes is None or len(self.classes) == self.num_classes
        require(valid, "classes", self.classes, f"a list of num_classes={self.num_classes} names")
        require(isinstance(self.crop, Real) and 0 < self.crop <= 1, "crop", self.crop, "a fraction in (0, 1]")
        valid = isinstance(self.k, Integral) or _is_integer_sequence(self.k, minimum=None)
        require(valid, "k", self.k, "an integer, or one integer per block")
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, list):  # JSON turns tuples into lists
                object.__setattr__(self, entry.name, tuple(value))
            elif isinstance(value, Integral) and not isinstance(value, int):  # JSON has no NumPy integers
                object.__setattr__(self, entry.name, int(value))

    def _require_integers(self, *names: str, minimum: int = 1) -> None:
        for name in names:
            value = getattr(self, name)
            require(isinstance(value, Integral), name, value, "an integer")
            require(value >= minimum, name, value, f"at least {minimum}")

    def _require_integers_per_stage(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            require(_is_integer_sequence(value), name, value, "one integer per stage, each at least 1")

    def _require_equal_lengths(self, *names: str) -> None:
        lengths = tuple(len(getattr(self, name)) for name in names)
        require(len(set(lengths)) == 1, f"{', '.join(names[:-1])} and {names[-1]}", lengths, "of the same length")


@dataclass(frozen=True, kw_only=True)
class ViGConfig(ModelConfig):
    """Isotropic ViG: the same width and resolution in all blocks.

    Args:
        channels: width of the nodes.
        depth: number of blocks.
        stem: ``"conv"`` (overlapping convolutions) or ``"patch"`` (a linear layer per patch, as in ViT; also accepts
            PyG batches).
        patch_size: side of a node in pixels; a power of two for ``"conv"``.
        edge_dim: width of the ``edge_attr`` of PyG graphs, for a conv that takes edge features; requires the stem
            ``"patch"`` and the graph ``"given"``. ``None`` ignores ``edge_attr``.

    If ``k`` is a single number, the number of neighbours grows linearly to ``2 * k`` over the depth.

    Example:
        >>> from pyg_vig.models import ViGConfig
        >>> ViGConfig(channels=192, depth=12, conv="edge").k
        9
    """

    channels: int
    depth: int
    stem: str = "conv"
    patch_size: int = 16
    edge_dim: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_integers("channels", "depth", "patch_size")
        require(self.stem in ("conv", "patch"), "stem", self.stem, "'conv' or 'patch'")
        if self.edge_dim is not None:
            self._require_integers("edge_dim")
            supported = self.stem == "patch" and self.graph == "given"
            require(supported, "edge_dim", self.edge_dim, "None, unless stem='patch' and graph='given'")


@dataclass(frozen=True, kw_only=True)
class PyramidViGConfig(ModelConfig):
    """Pyramid ViG: each stage halves the resolution; early stages take their neighbours from pooled nodes.

    Args:
        channels: node width of each stage; each must be divisible by 4.
        depths: number of blocks in each stage.
        reductions: side of the windows that pool the neighbours in each stage.
        patch_size: side in pixels of a node in the first stage, a power of two; 2 suits images as small as CIFAR's.

    Example:
        >>> from pyg_vig.models import PyramidViGConfig
        >>> PyramidViGConfig(channels=(48, 96), depths=(2, 2), reductions=(2, 1)).image_size
        224
    """

    channels: Sequence[int]
    depths: Sequence[int]
    reductions: Sequence[int] = (4, 2, 1, 1)
    patch_size: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_integers("patch_size")
        self._require_integers_per_stage("channels", "depths", "reductions")
        self._require_equal_lengths("channels", "depths", "reductions")


@dataclass(frozen=True, kw_only=True)
class HybridConfig(ModelConfig):
    """Hybrids of convolutions and graphs: MobileViG, GreedyViG, AttentionViG.

    Args:
        channels: node width of each stage.
        depths: for each stage, the number of inverted residual blocks and of graph blocks that follow them.
        steps: for each stage, the distance between connected patches in the graphs ``"svga"`` and ``"dagc"``.
        loop: whether ``"svga"`` makes every patch its own neighbour.
        expansion: output width of the graph convs as a multiple of the stage width.
        position_kernel: kernel size of the conditional position encoding before every graph conv; 0 disables it.
        layer_scale: initial layer scale of the graph blocks; ``None`` disables it. (Inverted residuals use 1e-5.)
        patch_size: side in pixels of a node in the first stage, a power of two; 2 suits images as small as CIFAR's.

    Example:
        >>> from pyg_vig.models import HybridConfig
        >>> HybridConfig(channels=(16, 32), depths=((2, 0), (0, 2)), steps=(2, 2)).graph
        'svga'
    """

    channels: Sequence[int]
    depths: Sequence[Sequence[int]]
    steps: Sequence[int]
    loop: bool = True
    expansion: int = 2
    position_kernel: int = 0
    layer_scale: float | None = None
    patch_size: int = 4
    graph: GraphSpec = "svga"
    heads: int = 1
    position: bool = False
    distilled: bool = True
    dilated: bool = False

    mean: ClassVar[tuple[float, float, float]] = (0.485, 0.456, 0.406)  # ImageNet statistics
    std: ClassVar[tuple[float, float, float]] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_integers("expansion", "patch_size")
        self._require_integers("position_kernel", minimum=0)
        odd = self.position_kernel % 2 or self.position_kernel == 0
        require(bool(odd), "position_kernel", self.position_kernel, "odd, or 0 to disable it")
        scale = self.layer_scale
        require(scale is None or isinstance(scale, Real), "layer_scale", scale, "a number, or None")
        pairs = isinstance(self.depths, Sequence) and all(
            _is_integer_sequence(pair, minimum=0) and len(pair) == 2 and sum(pair) >= 1 for pair in self.depths
        )
        require(pairs, "depths", self.depths, "a pair (inverted residuals, graph blocks) per stage, not (0, 0)")
        object.__setattr__(self, "depths", tuple(tuple(pair) for pair in self.depths))
        self._require_integers_per_stage("channels", "steps")
        self._require_equal_lengths("channels", "depths", "steps")
        require(not self.position, "position", self.position, "False (these networks have position_kernel instead)")


def check_option_names(name: str, config: Any, options: Iterable[str]) -> None:
    """Raise a ValueError that mentions ``name`` if an option is not a field of the configuration (or its class)."""
    valid = [entry.name for entry in fields(config)]
    unknown = [key for key in options if key not in valid]
    if unknown:
        close = get_close_matches(unknown[0], valid, n=1)
        hint = f"did you mean {close[0]!r}? Valid" if close else "valid"
        raise ValueError(f"{name} has no option {', '.join(map(repr, unknown))}: {hint} ones are {', '.join(valid)}")


def _is_integer_sequence(values: Any, minimum: int | None = 1) -> bool:
    """Whether ``values`` is a sequence of integers, none below ``minimum``."""
    integers = isinstance(values, Sequence) and all(isinstance(value, Integral) for value in values)
    return integers and (minimum is None or all(value >= minimum for value in values))


def require(condition: bool, name: str, value: Any, rule: str) -> None:
    """Reject the value of an option that breaks a rule.

    Raises:
        ValueError: if the condition does not hold.
    """
    if not condition:
        raise ValueError(f"{name} must be {rule}, got {value!r}")
