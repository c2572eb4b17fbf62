# SPDX-License-Identifier: Apache-2.0
"""What peers need of a picture tower, once for each checkpoint: ONNX, quantised ONNX, OpenVINO int8, torch's vectors.

usage: vision_export.py CHECKPOINT FOLDER STEP...

The graph is written from the checkpoint's tensors as onnxruntime runs it best: `fused` has its own attention operator,
`plain` has MatMul and Softmax, which OpenVINO's and everybody's fusions look for. vectors-torch.npy, of transformers on
torch f32, says whether graph and engines are right. Length 1 is part of the graph.
"""
import json
import os
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

import vision_pictures
from export_onnx import Graph, layer_norm, linear

CALIBRATION = 16  # pictures
OPSET, CONTRIB = 20, "com.microsoft"


def heads_of(graph, x, shape, perm):
    return graph.op("Transpose", graph.op("Reshape", x, shape["split"]), perm=perm)


def attend(graph, query, key, value, shape, fused):
    """Softmax(q k') v of all heads: [batch, queries, hidden]."""
    if fused:
        return graph.op("MultiHeadAttention", query, key, value, domain=CONTRIB, num_heads=shape["heads"])
    scores = graph.op("MatMul", heads_of(graph, query, shape, [0, 2, 1, 3]), heads_of(graph, key, shape, [0, 2, 3, 1]))
    weights = graph.op("Softmax", graph.op("Mul", scores, shape["scale"]), axis=-1)
    context = graph.op("MatMul", weights, heads_of(graph, value, shape, [0, 2, 1, 3]))
    return graph.op("Reshape", graph.op("Transpose", context, perm=[0, 2, 1, 3]), shape["join"])


def mlp(graph, tensors, x, prefix, config):
    inner = linear(graph, tensors, x, f"{prefix}.fc1")
    if config["hidden_act"] == "quick_gelu":
        inner = graph.op("Mul", inner, graph.op("Sigmoid", graph.op("Mul", inner, config["quick"])))
    else:
        inner = graph.op("Gelu", inner, approximate="tanh")
    return linear(graph, tensors, inner, f"{prefix}.fc2")


def layer(graph, tensors, x, prefix, config, fused):
    normed = layer_norm(graph, tensors, x, f"{prefix}.layer_norm1", config["layer_norm_eps"])
    query, key, value = (linear(graph, tensors, normed, f"{prefix}.self_attn.{name}_proj") for name in "qkv")
    heads = attend(graph, query, key, value, config["shape"], fused)
    x = graph.op("Add", x, linear(graph, tensors, heads, f"{prefix}.self_attn.out_proj"))
    normed = layer_norm(graph, tensors, x, f"{prefix}.layer_norm2", config["layer_norm_eps"])
    return graph.op("Add", x, mlp(graph, tensors, normed, f"{prefix}.mlp", config))


def patches(graph, tensors, config):
    """[batch, tokens, hidden]: patches (behind the class token, if there is one) with their positions."""
    prefix, hidden = "vision_model.embeddings", config["hidden_size"]
    inputs = ["pixel_values", graph.const("patch.weight", tensors[f"{prefix}.patch_embedding.weight"])]
    if f"{prefix}.patch_embedding.bias" in tensors:
        inputs.append(graph.const("patch.bias", tensors[f"{prefix}.patch_embedding.bias"]))
    x = graph.op("Conv", *inputs, strides=[config["patch_size"]] * 2)
    x = graph.op("Transpose", graph.op("Reshape", x, graph.const("flat", np.array([0, hidden, -1]))), perm=[0, 2, 1])
    if f"{prefix}.class_embedding" in tensors:
        row = graph.const("class", tensors[f"{prefix}.class_embedding"].reshape(1, 1, hidden))
        batch = graph.op("Shape", "pixel_values", start=0, end=1)
        shape = graph.op("Concat", batch, graph.const("one_row", np.array([1, hidden])), axis=0)
        x = graph.op("Concat", graph.op("Expand", row, shape), x, axis=1)
    return graph.op("Add", x, graph.const("positions", tensors[f"{prefix}.position_embedding.weight"][None]))


def clip_head(graph, tensors, x, config):
    first = graph.op("Gather", x, graph.const("first", np.int64(0)), axis=1)
    normed = layer_norm(graph, tensors, first, "vision_model.post_layernorm", config["layer_norm_eps"])
    return graph.op("MatMul", normed, graph.const("projection", tensors["visual_projection.weight"].T))


def siglip_head(graph, tensors, x, config):
    """Attention of one learned query, whose projection is a constant, to all patches; then an MLP."""
    prefix, hidden, shape = "vision_model.head", config["hidden_size"], config["shape"]
    x = layer_norm(graph, tensors, x, "vision_model.post_layernorm", config["layer_norm_eps"])
    weight, bias = (tensors[f"{prefix}.attention.in_proj_{part}"] for part in ("weight", "bias"))
    for name, part in (("k", slice(hidden, 2 * hidden)), ("v", slice(2 * hidden, None))):
        tensors |= {f"pool.{name}.weight": weight[part], f"pool.{name}.bias": bias[part]}
    query = tensors[f"{prefix}.probe"].reshape(1, hidden) @ weight[:hidden].T + bias[:hidden]
    query = query.reshape(1, config["num_attention_heads"], 1, -1)
    key = heads_of(graph, linear(graph, tensors, x, "pool.k"), shape, [0, 2, 3, 1])
    value = heads_of(graph, linear(graph, tensors, x, "pool.v"), shape, [0, 2, 1, 3])
    scores = graph.op("Mul", graph.op("MatMul", graph.const("pool.q", query), key), shape["scale"])
    context = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), value)
    context = graph.op("Reshape", context, graph.const("one_vector", np.array([0, hidden])))
    pooled = linear(graph, tensors, context, f"{prefix}.attention.out_proj")
    normed = layer_norm(graph, tensors, pooled, f"{prefix}.layernorm", config["layer_norm_eps"])
    return graph.op("Add", pooled, mlp(graph, tensors, normed, f"{prefix}.mlp", config))


def vision_config(checkpoint):
    """The picture tower's configuration with transformers' defaults of the family filled in."""
    config = json.loads((checkpoint / "config.json").read_text())
    clip = config["model_type"] == "clip"
    if not clip and config["model_type"] != "siglip":
        raise ValueError(f"{checkpoint}: only CLIP and SigLIP can be exported here")
    defaults = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5} if clip else \
               {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
    return {"clip": clip, **defaults, **config["vision_config"]}


def export(checkpoint, path, fused):
    from safetensors.numpy import load_file
    config = vision_config(checkpoint)
    tensors = load_file(checkpoint / "model.safetensors")
    graph, hidden, n_heads = Graph(), config["hidden_size"], config["num_attention_heads"]
    config["quick"] = graph.const("quick", np.float32(1.702))
    config["shape"] = {"heads": n_heads, "scale": graph.const("scale", np.float32((hidden // n_heads)**-0.5)),
                       "split": graph.const("split_heads", np.array([0, 0, n_heads, hidden // n_heads])),
                       "join": graph.const("join_heads", np.array([0, 0, hidden]))}
    x = patches(graph, tensors, config)
    if config["clip"]:
        x = layer_norm(graph, tensors, x, "vision_model.pre_layrnorm", config["layer_norm_eps"])
    for number in range(config["num_hidden_layers"]):
        x = layer(graph, tensors, x, f"vision_model.encoder.layers.{number}", config, fused)
    x = (clip_head if config["clip"] else siglip_head)(graph, tensors, x, config)
    graph.op("Div", x, graph.op("ReduceL2", x, graph.const("last", np.array([-1])), keepdims=1), name="embedding")
    size = config["image_size"]
    inputs = [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, size, size])]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", None])]
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)][:1 + fused]
    model = helper.make_model(helper.make_graph(graph.nodes, "vision", inputs, outputs, graph.initializers),
                              opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def onnx_files(checkpoint, folder):
    export(checkpoint, folder / "fused.onnx", True)
    export(checkpoint, folder / "plain.onnx", False)


def int8_onnx(checkpoint, folder):
    """Dynamic, per channel, all 8 bits (7 were as fast and no nearer to f32)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    quantize_dynamic(str(folder / "fused.onnx"), str(folder / "int8.onnx"), per_channel=True,
                     weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"],
                     extra_options={"DefaultTensorType": TensorProto.FLOAT})


def openvino_int8(checkpoint, folder):
    """Post-training quantisation of weights and activations (nncf), calibrated on other pictures than are timed."""
    import nncf
    import openvino
    items = [vision_pictures.pixel_values(checkpoint, [1000 + i]) for i in range(CALIBRATION)]
    quantised = nncf.quantize(openvino.Core().read_model(folder / "plain.onnx"), nncf.Dataset(items),
                              subset_size=len(items), model_type=nncf.ModelType.TRANSFORMER)
    openvino.save_model(quantised, folder / "openvino-int8.xml", compress_to_fp16=False)


def torch_vectors(checkpoint, folder):
    import cuda_stubs
    cuda_stubs.load(folder.parent.parent / "stubs")
    import torch
    import transformers
    kind = transformers.CLIPVisionModelWithProjection if vision_config(checkpoint)["clip"] else \
        transformers.SiglipVisionModel
    model = kind.from_pretrained(checkpoint, dtype=torch.float32, local_files_only=True,
                                 ignore_mismatched_sizes=True).eval()
    if not vision_config(checkpoint)["clip"]:  # made checkpoints have it as [1, hidden]
        from safetensors.torch import load_file
        probe = next(value for name, value in model.named_parameters() if name.endswith("head.probe"))
        probe.data = load_file(checkpoint / "model.safetensors")["vision_model.head.probe"].reshape(probe.shape)
    pixels = torch.from_numpy(vision_pictures.pixel_values(checkpoint, vision_pictures.CHECKED))
    with torch.inference_mode():
        out = model(pixel_values=pixels)
    out = out.image_embeds if hasattr(out, "image_embeds") else out.pooler_output
    np.save(folder / "vectors-torch.npy", torch.nn.functional.normalize(out).numpy())


STEPS = {"onnx": onnx_files, "int8": int8_onnx, "openvino-int8": openvino_int8, "torch": torch_vectors}
RESULTS = {"onnx": "plain.onnx", "int8": "int8.onnx", "openvino-int8": "openvino-int8.xml",
           "torch": "vectors-torch.npy"}

if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    for step in sys.argv[3:]:
        STEPS[step](Path(sys.argv[1]), Path(sys.argv[2]))
