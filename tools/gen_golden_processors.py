# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/images/processors_more.json: settings that the other golden rows don't have.

usage: gen_golden_processors.py     needs Pillow 13, NumPy and transformers
"""
import hashlib
import json
from pathlib import Path

import numpy
import PIL
import transformers
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "golden" / "images"
CLASSES = {"siglip": SiglipImageProcessorPil, "clip": CLIPImageProcessorPil, "qwen2_vl": Qwen2VLImageProcessorPil}
SQUARE, CROP = {"height": 32, "width": 32}, {"crop_size": {"height": 32, "width": 32}}
ROWS = [("siglip", "jpeg_444.jpg", {"size": SQUARE, "resample": filter}) for filter in (0, 1, 4)] + [
    ("siglip", "jpeg_444.jpg", {"size": SQUARE, "do_rescale": False, "image_mean": [1.0, 2.0, 3.0]}),
    ("siglip", "jpeg_444.jpg", {"size": SQUARE, "do_normalize": False, "rescale_factor": 0.25}),
    ("siglip", "jpeg_444.jpg", {"size": SQUARE, "image_mean": 0.3, "image_std": 0.7}),
    ("clip", "jpeg_444.jpg", {"size": {"shortest_edge": 32, "longest_edge": 40}, **CROP}),
    ("clip", "jpeg_444.jpg", {"size": {"shortest_edge": 43, "longest_edge": 90}, **CROP}),
    ("clip", "jpeg_exif6.jpg", {"size": {"shortest_edge": 21}, **CROP}),  # black above and below
    ("clip", "jpeg_444.jpg", {"size": {"height": 25, "width": 19}, **CROP}),  # black around, an odd number of rows
    ("clip", "jpeg_444.jpg", {"size": {"height": 33, "width": 47}, **CROP}),
    ("qwen2_vl", "jpeg_444.jpg", {"size": {"shortest_edge": 3136, "longest_edge": 9408}, "resample": 1}),
]


def as_number(value):
    """image_mean as one number is not what the class takes, only what its functions do."""
    return [value] * 3 if isinstance(value, float) else value


rows = []
for name, file, options in ROWS:
    call = {key: as_number(value) if key.startswith("image_") else value for key, value in options.items()}
    image = Image.open(FOLDER / "files" / file)
    output = CLASSES[name](**call)(image, return_tensors="np")
    values = numpy.ascontiguousarray(output["pixel_values"], dtype=numpy.float32)
    values = values if name == "qwen2_vl" else values[0]
    row = {"tensor": f"{name}/{file}/{len(rows)}", "file": file, "processor": name, "options": options,
           "shape": list(values.shape), "pixel_values_sha256": hashlib.sha256(values.tobytes()).hexdigest()}
    if "image_grid_thw" in output:
        row["image_grid_thw"] = output["image_grid_thw"].tolist()
    rows.append(row)
reference = {"transformers": transformers.__version__, "pillow": PIL.__version__, "numpy": numpy.__version__}
text = json.dumps({"reference": reference, "rows": rows}, indent=1)
(FOLDER / "processors_more.json").write_text(text + "\n", encoding="utf-8")
