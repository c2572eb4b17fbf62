# SPDX-License-Identifier: Apache-2.0
"""Makes each peer's model from the checkpoint, once: ONNX, fused, quantised; OpenVINO int8; CTranslate2.

usage: prepare.py CHECKPOINT FOLDER STEP...   A step that fails is reported by its exit status; others are unaffected.
"""
import json
import os
import sys
from pathlib import Path

import workload


def plain_onnx(checkpoint, folder):
    import export_onnx
    n_heads, hidden = export_onnx.export(checkpoint, folder / "model.onnx")
    (folder / "shape.json").write_text(json.dumps({"n_heads": n_heads, "hidden": hidden}))


def fused_onnx(checkpoint, folder):
    from onnxruntime.transformers import optimizer
    shape = json.loads((folder / "shape.json").read_text())
    model = optimizer.optimize_model(str(folder / "model.onnx"), model_type="bert", num_heads=shape["n_heads"],
                                     hidden_size=shape["hidden"], opt_level=0, use_gpu=False)
    fused = model.get_fused_operator_statistics()
    (folder / "fused.json").write_text(json.dumps({name: n for name, n in fused.items() if n}))
    if fused.get("Attention", 0) == 0 or fused.get("SkipLayerNormalization", 0) == 0:
        raise RuntimeError(f"onnxruntime's graph optimiser fused too little: {fused}")
    model.save_model_to_file(str(folder / "fused.onnx"))


def int8_onnx(checkpoint, folder):
    """Both weight ranges: 7 bits can't saturate the pair sums of AVX2 without VNNI, 8 bits are finer."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    for reduce_range in (False, True):
        quantize_dynamic(str(folder / "fused.onnx"), str(folder / f"int8-{7 if reduce_range else 8}bit.onnx"),
                         per_channel=True, reduce_range=reduce_range, weight_type=QuantType.QInt8,
                         extra_options={"DefaultTensorType": 1})


def openvino_int8(checkpoint, folder):
    """Post-training quantisation of weights and activations (nncf), calibrated on 300 sentences."""
    import nncf
    import numpy as np
    import openvino
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.no_padding()
    items = []
    for text in workload.sentences()[:300]:
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        items.append({"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)})
    model = openvino.Core().read_model(folder / "model.onnx")
    quantised = nncf.quantize(model, nncf.Dataset(items), subset_size=len(items),
                              model_type=nncf.ModelType.TRANSFORMER)
    openvino.save_model(quantised, folder / "openvino-int8.xml", compress_to_fp16=False)


def ctranslate2(checkpoint, folder):
    import cuda_stubs
    cuda_stubs.load(folder / "stubs")
    import ctranslate2.converters
    converter = ctranslate2.converters.TransformersConverter(str(checkpoint))
    for name in ("float32", "int8"):
        converter.convert(str(folder / f"ct2-{name}"), quantization=name, force=True)


STEPS = {"onnx": plain_onnx, "fused": fused_onnx, "int8": int8_onnx, "openvino-int8": openvino_int8,
         "ctranslate2": ctranslate2}

if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    for step in sys.argv[3:]:
        STEPS[step](Path(sys.argv[1]), Path(sys.argv[2]))
