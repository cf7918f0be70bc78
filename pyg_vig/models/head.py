"""Classification head, which turns pooled features into class scores."""

from __future__ import annotations

from torch import Tensor, nn

from pyg_vig.nn.activation import activation_resolver
from pyg_vig.nn.linear import LinearNorm


class Head(nn.Module):
    """Hidden layer with batch norm and activation, dropout and classifier, or two classifiers for distillation.

    Args:
        in_channels: width of the pooled features.
        hidden_channels: width of the hidden layer.
        num_classes: width of the output; with 0 the head returns the hidden features.
        act: activation.
        drop_rate: dropout before the classifier.
        distilled: whether to add a second classifier. The head then returns both outputs in training mode, their mean
            in evaluation mode.
    """

    def __init__(
        self, in_channels: int, hidden_channels: int, num_classes: int, act: str, drop_rate: float, distilled: bool
    ) -> None:
        super().__init__()
        self.fc = LinearNorm(in_channels, hidden_channels)
        self.act = activation_resolver(act)
        self.dropout = nn.Dropout(drop_rate)
        self.hidden_channels = hidden_channels
        self.distilled = distilled
        self.reset(num_classes)

    def reset(self, num_classes: int) -> None:
        """Replace the classifiers by newly initialised ones for ``num_classes`` classes."""
        self.classifier = self._new_classifier(num_classes)
        self.distillation_classifier = self._new_classifier(num_classes) if self.distilled else None

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Compute scores ``(B, num_classes)`` from pooled features ``(B, C)``."""
        x = self.dropout(self.fc(x, self.act))
        if pre_logits:
            return x
        scores = self.classifier(x)
        if self.distillation_classifier is None:
            return scores
        distilled = self.distillation_classifier(x)
        return (scores, distilled) if self.training else (scores + distilled) / 2

    def _new_classifier(self, num_classes: int) -> nn.Module:
        if not num_classes:
            return nn.Identity()
        classifier = nn.Linear(self.hidden_channels, num_classes)
        return classifier.to(self.fc.linear.weight).train(self.training)  # the network may be on a GPU by now
