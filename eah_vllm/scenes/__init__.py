"""The built-in model and the small world it captions.

`MODEL_PATH` is the shipped checkpoint; `EXAMPLES` are the seeds of the README's pictures
(`docs/images/scene-<seed>.png`).
"""

from pathlib import Path

MODEL_PATH = Path(__file__).parent / "model"
EXAMPLES = (60, 65, 91, 97)
