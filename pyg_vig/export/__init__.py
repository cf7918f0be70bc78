"""Export networks to files that run without pyg_vig: ONNX, exported programs, AOTInductor packages."""

from pyg_vig.export.formats import FORMATS, export_aoti, export_model, export_onnx, export_pt2
from pyg_vig.export.verify import Comparison, verify_export

__all__ = ["FORMATS", "Comparison", "export_aoti", "export_model", "export_onnx", "export_pt2", "verify_export"]
