"""Conversion of parameter names and shapes between the published checkpoints and ours.

Sources: the official code of ViG (Efficient-AI-Backbones, vig_pytorch), MobileViG and GreedyViG, and mmpretrain 1.2.
"""

from __future__ import annotations

import re

from torch import Tensor

from pyg_vig.models.config import HybridConfig
from pyg_vig.models.vision_gnn import VisionGNN
from pyg_vig.nn.linear import PairUpdate

_CLASSIFIERS = tuple(
    f"head.{name}.{part}" for name in ("classifier", "distillation_classifier") for part in ("weight", "bias")
)


def detect_format(state: dict[str, Tensor]) -> str:
    """Return which code base a state dict comes from: ``"official"``, ``"mmpretrain"`` or ``"pyg_vig"``."""
    if any(key.startswith(("backbone.stem.", "backbone.blocks.", "backbone.stages.")) for key in state):
        return "mmpretrain"
    if any(key.startswith(("backbone.", "prediction.")) for key in state):
        return "official"
    return "pyg_vig"


def convert_state_dict(state: dict[str, Tensor], model: VisionGNN) -> dict[str, Tensor]:
    """Convert a state dict from any of these code bases to our names and shapes; unknown keys keep their names."""
    layout = detect_format(state)
    if layout == "mmpretrain":
        state = mmpretrain_to_official(state)
    return state if layout == "pyg_vig" else from_official(state, model)


def from_official(state: dict[str, Tensor], model: VisionGNN) -> dict[str, Tensor]:
    """Rename and reshape an official state dict for ``model``; unknown keys keep their names."""
    model_state = model.state_dict()
    renamed = {_official_name(key, model): key for key in (*_CLASSIFIERS, *model_state)}  # the network may lack some
    converted = {
        renamed.get(key, key): _reshape_like(value, model_state.get(renamed.get(key, "")))
        for key, value in state.items()
    }
    for key in _concatenated_weights(model):
        if key in converted:  # [x | y] to x0, y0, x1, y1, ...
            converted[key] = converted[key].unflatten(1, (2, -1)).transpose(1, 2).flatten(1)
    return converted


def to_official(model: VisionGNN) -> dict[str, Tensor]:
    """Return the network's state dict with the official names and shapes, for use with the official code."""
    concatenated, state = _concatenated_weights(model), {}
    for key, value in model.state_dict().items():
        name = _official_name(key, model)
        if key in concatenated:
            value = value.unflatten(1, (-1, 2)).transpose(1, 2).flatten(1)
        if name == "pos_embed":
            value = value.permute(0, 3, 1, 2)
        elif name.endswith("relative_pos"):
            value = value.unsqueeze(0)
        elif value.dim() == 2 or (name.startswith("local_backbone.") and name.endswith("layer_scale_2")):
            value = value[..., None, None]
        state[name] = value.contiguous()
    return state


def mmpretrain_to_official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of an mmpretrain state dict to the official ones."""
    stage_sizes = _mmpretrain_stage_sizes(state)
    return {_mmpretrain_name(key, stage_sizes): value for key, value in state.items()}


def _concatenated_weights(model: VisionGNN) -> set[str]:
    """Return the pair-update weights whose two inputs the official code concatenates instead of interleaving."""
    if not isinstance(model.config, HybridConfig):
        return set()
    return {f"{name}.linear.weight" for name, module in model.named_modules() if isinstance(module, PairUpdate)}


def _official_name(key: str, model: VisionGNN) -> str:
    if isinstance(model.config, HybridConfig):
        return _hybrid_name(key, model, is_mobilevig=not model.config.position_kernel)
    return _vig_name(key, model)


def _hybrid_name(key: str, model: VisionGNN, is_mobilevig: bool) -> str:
    for pattern, official in _HYBRID_HEAD_AND_STEM:
        if match := re.fullmatch(pattern, key):
            *index, name = match.groups()
            conv = 3 * int(index[0]) if index else 0
            return official.format(conv, conv + 1, name)
    match = re.fullmatch(r"stages\.(\d+)\.(?:blocks\.(\d+)|downsample)\.(.+)", key)
    if match is None:
        return key
    stage, block, suffix = int(match[1]), match[2], match[3]
    for ours, greedy, mobilevig in _HYBRID_PARTS:
        if suffix.startswith(ours):
            suffix = (mobilevig if is_mobilevig else greedy) + suffix[len(ours) :]
            break
    if is_mobilevig:
        return _mobilevig_prefix(model, stage, block) + suffix
    return f"backbone.{stage}.{0 if block is None else int(block) + (stage > 0)}.{suffix}"


def _mobilevig_prefix(model: VisionGNN, stage: int, block: str | None) -> str:
    """Return the key prefix: MobileViG keeps the last stage's graph blocks in one list, all else in another."""
    if stage == len(model.stages) - 1 and block is not None:
        return f"backbone.{block}."
    return f"local_backbone.{_backbone_index(model, stage, None if block is None else int(block))}."


_HYBRID_HEAD_AND_STEM = (
    (r"stem\.convs\.(\d+)\.conv\.(\w+)", "stem.stem.{0}.{2}"),
    (r"stem\.convs\.(\d+)\.norm\.(\w+)", "stem.stem.{1}.{2}"),
    (r"head\.fc\.linear\.(\w+)", "prediction.1.{2}"),
    (r"head\.fc\.norm\.(\w+)", "prediction.2.{2}"),
    (r"head\.classifier\.(\w+)", "head.{2}"),
    (r"head\.distillation_classifier\.(\w+)", "dist_head.{2}"),
)
_HYBRID_PARTS = (  # ours, GreedyViG's, MobileViG's
    ("conv_norm.conv.", "conv.0.", "conv.0."),
    ("conv_norm.norm.", "conv.1.", "conv.1."),
    ("expand.linear.", "dws.pw1.", "mlp.fc1."),
    ("expand.norm.", "dws.norm1.", "mlp.norm1."),
    ("depthwise.conv.", "dws.dw.", "mlp.mid."),
    ("depthwise.norm.", "dws.norm2.", "mlp.mid_norm."),
    ("project.linear.", "dws.pw2.", "mlp.fc2."),
    ("project.norm.", "dws.norm3.", "mlp.norm2."),
    ("layer_scale.weight", "layer_scale_2", "layer_scale_2"),
    ("grapher.encode_position.conv.", "mixer.cpe.pe.", ""),
    ("grapher.fc1.linear.", "mixer.fc1.0.", "0.fc1.0."),
    ("grapher.fc1.norm.", "mixer.fc1.1.", "0.fc1.1."),
    ("grapher.conv.nn.linear.", "mixer.graph_conv.nn.0.", "0.graph_conv.nn.0."),
    ("grapher.conv.nn.norm.", "mixer.graph_conv.nn.1.", "0.graph_conv.nn.1."),
    ("grapher.fc2.linear.", "mixer.fc2.0.", "0.fc2.0."),
    ("grapher.fc2.norm.", "mixer.fc2.1.", "0.fc2.1."),
    ("grapher.layer_scale.weight", "layer_scale_1", ""),
    ("ffn.fc1.linear.", "ffn.0.", "1.fc1.0."),
    ("ffn.fc1.norm.", "ffn.1.", "1.fc1.1."),
    ("ffn.fc2.linear.", "ffn.3.", "1.fc2.0."),
    ("ffn.fc2.norm.", "ffn.4.", "1.fc2.1."),
    ("ffn.layer_scale.weight", "layer_scale_2", ""),
)


def _vig_name(key: str, model: VisionGNN) -> str:
    if key == "position.weight":
        return "pos_embed"
    if match := re.fullmatch(r"stem\.(convs|acts)\.(\d+)\.(?:(conv|norm)\.)?(\w+)", key):
        group, index, part, name = match.groups()
        offset = 2 if group == "acts" else {"conv": 0, "norm": 1}[part]
        return f"stem.convs.{3 * int(index) + offset}.{name}"
    if key.startswith("head."):
        for ours, official in (
            ("fc.linear", "0"),
            ("fc.norm", "1"),
            ("act", "2"),
            ("classifier", "4"),
        ):
            key = key.replace(f"head.{ours}.", f"prediction.{official}.")
        return key
    if match := re.fullmatch(r"stages\.(\d+)\.(?:blocks\.(\d+)|downsample)\.(.+)", key):
        stage, block, suffix = match.groups()
        backbone_index = _backbone_index(model, int(stage), None if block is None else int(block))
        return f"backbone.{backbone_index}.{_official_block_name(suffix, model)}"
    return key


def _backbone_index(model: VisionGNN, stage: int, block: int | None) -> int:
    """Return the index in the official ``backbone``, in which a Downsample counts as an element."""
    offset = sum(len(s.blocks) + int(s.downsample is not None) for s in model.stages[:stage])
    if block is None:
        return offset
    return offset + int(model.stages[stage].downsample is not None) + block


def _official_block_name(suffix: str, model: VisionGNN) -> str:
    act = "1" if model.config.norm in (None, "none") else "2"
    for ours, official in (
        ("conv_norm.conv.", "conv.0."),
        ("conv_norm.norm.", "conv.1."),
        ("grapher.graph.position.table", "0.relative_pos"),
        ("grapher.conv.", "0.graph_conv.gconv."),
        ("grapher.", "0."),
        ("ffn.", "1."),
    ):
        if suffix.startswith(ours):
            suffix = official + suffix[len(ours) :]
            break
    if ".gconv." in suffix:
        suffix = re.sub(r"\.act\.", f".{act}.", suffix)
    return re.sub(r"\.norm\.", ".1.", re.sub(r"\.linear\.", ".0.", suffix))


def _reshape_like(value: Tensor, target: Tensor | None) -> Tensor:
    """Adapt shapes: our 1x1 convolutions are linear layers, maps are channels-last, tables have no batch dimension."""
    if target is None or value.shape == target.shape:
        return value
    if value.dim() == 4 and target.dim() == 2 and value.shape[2:] == (1, 1):
        return value.flatten(1)
    if value.dim() == 3 and target.dim() == 1:  # MobileViG's layer scales have shape (C, 1, 1)
        return value.flatten()
    if value.dim() == 4 and target.dim() == 4:
        return value.permute(0, 2, 3, 1).contiguous()
    if value.dim() == target.dim() + 1 and value.size(0) == 1:
        return value[0]
    return value


def _mmpretrain_stage_sizes(state: dict[str, Tensor]) -> list[int]:
    """Return the number of modules in each stage of a pyramid, including Downsamples."""
    elements: dict[int, set[int]] = {}
    for key in state:
        if match := re.match(r"backbone\.stages\.(\d+)\.(\d+)\.", key):
            elements.setdefault(int(match[1]), set()).add(int(match[2]))
    return [len(elements[stage]) for stage in sorted(elements)]


def _mmpretrain_name(key: str, stage_sizes: list[int]) -> str:
    if match := re.fullmatch(r"backbone\.stages\.(\d+)\.(\d+)\.(.+)", key):
        stage, element, suffix = int(match[1]), int(match[2]), match[3]
        index = sum(stage_sizes[:stage]) + element
        is_downsample = stage > 0 and element == 0
        return f"backbone.{index}.conv.{suffix}" if is_downsample else f"backbone.{index}.{suffix}"
    for mmpretrain, official in _MMPRETRAIN_PREFIXES:
        if key.startswith(mmpretrain):
            return official + key[len(mmpretrain) :]
    return key


_MMPRETRAIN_PREFIXES = (
    ("backbone.pos_embed", "pos_embed"),
    ("backbone.stem.", "stem.convs."),
    ("backbone.blocks.", "backbone."),
    ("head.fc1.", "prediction.0."),
    ("head.bn.", "prediction.1."),
    ("head.act.", "prediction.2."),
    ("head.fc2.", "prediction.4."),
)
