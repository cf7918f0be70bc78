"""Speed and memory of pyg_vig. Run ``python -m benchmarks --help``."""

import warnings

# torch_geometric scripts functions at import, and every measurement imports it again in a fresh process.
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
