"""Predict an image with a checkpoint of any task, as text and as a picture."""

from __future__ import annotations

import io
import math
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from pyg_vig.atomic import write_atomically
from pyg_vig.models import VisionGNN
from pyg_vig.models.file_format import CONFIG, weights_file
from pyg_vig.preprocessing import transform_for
from pyg_vig.tasks.checkpoint import load_model
from pyg_vig.tasks.drawing import draw_classes, draw_detections
from pyg_vig.transforms.photo import open_photo

_TOP_K = 5  # number of classes listed


class Prediction(NamedTuple):
    """A network's prediction for an image.

    Attributes:
        text: the prediction as text.
        picture: the prediction drawn on the image, ``(3, H, W)`` uint8; ``None`` for a classifier.
    """

    text: str
    picture: Tensor | None

    def save(self, path: str | Path) -> None:
        """Write the picture as PNG, atomically.

        Raises:
            ValueError: if there is no picture.
        """
        if self.picture is None:
            raise ValueError("a classifier's prediction has no picture: use its text")
        content = io.BytesIO()
        v2.functional.to_pil_image(self.picture).save(content, "PNG")
        write_atomically(path, content.getvalue())


class Predictor:
    """Predictions of a network that is loaded from a checkpoint, whatever its task.

    Args:
        checkpoint: folder of a run, or a ``.safetensors`` file of this package.
        threshold: minimum score of detections.
        size: shorter side in pixels to which a segmenter's images are resized, at least 1; by default the size of its
            training crops if the options of the run are stored beside the checkpoint, else 512.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ValueError: if the checkpoint does not say which network it holds.

    Example:
        >>> import pyg_vig, tempfile
        >>> from PIL import Image
        >>> from pyg_vig.tasks.predict import Predictor
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pyg_vig.save_checkpoint(pyg_vig.create_model("vig_nano", depth=1), f"{folder}/model.safetensors")
        ...     Image.new("RGB", (40, 30)).save(f"{folder}/photo.png")
        ...     Predictor(folder)(f"{folder}/photo.png").text.count("%")
        5
    """

    def __init__(self, checkpoint: str | Path, *, threshold: float = 0.5, size: int | None = None) -> None:
        if size is not None and size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {size}")
        path = weights_file(checkpoint)
        self.model: Any = load_model(path)
        self.task = type(self.model.config).__name__
        self.threshold = threshold
        self.size = size or _run_options(path).get("size", 512)

    @torch.no_grad()
    def __call__(self, path: str | Path) -> Prediction:
        """Read an image file and return the prediction for it.

        Raises:
            ValueError: if the file is not an image.
        """
        image = open_photo(path)
        if isinstance(self.model, VisionGNN):
            return self._classify(self.model, image)
        return self._detect(image) if self.task == "DetectorConfig" else self._segment(image)

    def _classify(self, model: VisionGNN, image: Image.Image) -> Prediction:
        probabilities = model(transform_for(model.config)(image)[None])[0].softmax(0)
        values, classes = probabilities.topk(min(_TOP_K, len(probabilities)))
        top = zip(classes.tolist(), values.tolist(), strict=True)
        return Prediction(", ".join(f"{self._class_name(index)} {value:.1%}" for index, value in top), None)

    def _detect(self, image: Image.Image) -> Prediction:
        pixels = v2.functional.pil_to_tensor(image)
        prediction = self.model([pixels / 255])[0]
        labels = prediction["labels"][prediction["scores"] >= self.threshold].tolist()
        counts = Counter(self._class_name(label - 1) for label in labels)
        text = ", ".join(f"{count} x {name}" for name, count in counts.most_common()) or "nothing"
        return Prediction(text, draw_detections(pixels, prediction, self._class_names(), threshold=self.threshold))

    def _segment(self, image: Image.Image) -> Prediction:
        from pyg_vig.tasks.segmentation import segment

        pixels = v2.functional.pil_to_tensor(image)
        classes = segment(self.model, (pixels / 255)[None], self.size)[0]
        counts = Counter(classes.flatten().tolist()).most_common(_TOP_K)
        text = ", ".join(f"{self._class_name(index)} {count / math.prod(classes.shape):.1%}" for index, count in counts)
        return Prediction(text, draw_classes(pixels, classes))

    def _class_names(self) -> list[str]:
        return list(getattr(self.model.config, "classes", None) or [])

    def _class_name(self, index: int) -> str:
        names = self._class_names()
        return names[index] if names else f"class {index}"


def _run_options(path: Path) -> dict[str, Any]:
    """Return the options of the run that wrote a checkpoint, if they are stored beside it."""
    file = path.parent / CONFIG
    if not file.is_file():
        return {}
    import yaml

    return yaml.safe_load(file.read_text()) or {}
