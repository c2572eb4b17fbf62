# SPDX-License-Identifier: Apache-2.0
"""BERT as an ONNX graph, from the checkpoint's tensors, written the way onnxruntime's BERT fusions look for it.

Exporters change with every release and fusions then miss; here the graph is fixed. Mean pooling and normalisation are
inside the graph, so that no peer pays for Python afterwards. Outputs: sentence_embedding [batch, hidden].
"""
import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Graph:
    def __init__(self):
        self.nodes, self.initializers, self.count = [], [], 0

    def const(self, name, value):
        self.initializers.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def op(self, kind, *inputs, name=None, **attributes):
        self.count += 1
        output = name or f"{kind.lower()}_{self.count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=f"{kind}_{self.count}", **attributes))
        return output


def linear(graph, tensors, x, prefix):
    weight = graph.const(f"{prefix}.weight.T", tensors[f"{prefix}.weight"].T)
    bias = graph.const(f"{prefix}.bias", tensors[f"{prefix}.bias"])
    return graph.op("Add", graph.op("MatMul", x, weight), bias)


def layer_norm(graph, tensors, x, prefix, epsilon):
    return graph.op("LayerNormalization", x, graph.const(f"{prefix}.weight", tensors[f"{prefix}.weight"]),
                    graph.const(f"{prefix}.bias", tensors[f"{prefix}.bias"]), axis=-1, epsilon=epsilon)


def attention(graph, tensors, x, mask, prefix, shape):
    def heads(name, perm):
        reshaped = graph.op("Reshape", linear(graph, tensors, x, f"{prefix}.self.{name}"), shape["split"])
        return graph.op("Transpose", reshaped, perm=perm)

    query, key = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1])
    value = heads("value", [0, 2, 1, 3])
    scores = graph.op("Div", graph.op("MatMul", query, key), shape["scale"])
    weights = graph.op("Softmax", graph.op("Add", scores, mask), axis=-1)
    context = graph.op("Transpose", graph.op("MatMul", weights, value), perm=[0, 2, 1, 3])
    context = graph.op("Reshape", context, shape["join"])
    return linear(graph, tensors, context, f"{prefix}.output.dense")


def gelu(graph, x, numbers):
    erf = graph.op("Erf", graph.op("Div", x, numbers["sqrt2"]))
    return graph.op("Mul", graph.op("Mul", x, graph.op("Add", erf, numbers["one"])), numbers["half"])


def embeddings(graph, tensors, config):
    length = graph.op("Gather", graph.op("Shape", "input_ids"), graph.const("axis_1", np.int64(1)), axis=0)
    length = graph.op("Unsqueeze", length, graph.const("axes_0", np.array([0], np.int64)))
    positions = graph.op("Slice", graph.const("position_ids", np.arange(config["max_position_embeddings"])[None]),
                         graph.const("zero", np.array([0], np.int64)), length,
                         graph.const("one_axis", np.array([1], np.int64)), graph.const("step", np.array([1], np.int64)))
    table = {part: graph.const(f"embeddings.{part}", tensors[f"embeddings.{part}_embeddings.weight"])
             for part in ("word", "position", "token_type")}
    x = graph.op("Add", graph.op("Gather", table["word"], "input_ids"),
                 graph.op("Gather", table["token_type"], "token_type_ids"))
    x = graph.op("Add", x, graph.op("Gather", table["position"], positions))
    return layer_norm(graph, tensors, x, "embeddings.LayerNorm", config["layer_norm_eps"])


def additive_mask(graph, numbers):
    mask = graph.op("Unsqueeze", "attention_mask", graph.const("axes_1", np.array([1], np.int64)))
    mask = graph.op("Unsqueeze", mask, graph.const("axes_2", np.array([2], np.int64)))
    mask = graph.op("Cast", mask, to=TensorProto.FLOAT)
    return graph.op("Mul", graph.op("Sub", numbers["one"], mask), graph.const("lowest", np.float32(-10000)))


def pool(graph, x):
    mask = graph.op("Unsqueeze", "attention_mask", graph.const("axes_last", np.array([-1], np.int64)))
    mask = graph.op("Cast", mask, to=TensorProto.FLOAT)
    axes = graph.const("token_axis", np.array([1], np.int64))
    total = graph.op("ReduceSum", graph.op("Mul", x, mask), axes, keepdims=0)
    mean = graph.op("Div", total, graph.op("ReduceSum", mask, axes, keepdims=0))
    norm = graph.op("ReduceL2", mean, axes=[1], keepdims=1)
    return graph.op("Div", mean, norm, name="sentence_embedding")


def export(checkpoint, path):
    """Writes the graph of `checkpoint` (a folder with config.json and model.safetensors, BERT, GELU) to `path`."""
    from safetensors.numpy import load_file
    config = json.loads((checkpoint / "config.json").read_text())
    if config["model_type"] != "bert" or config["hidden_act"] != "gelu":
        raise ValueError(f"{checkpoint}: only BERT with GELU can be exported here")
    tensors = load_file(checkpoint / "model.safetensors")
    graph = Graph()
    n_heads, hidden = config["num_attention_heads"], config["hidden_size"]
    numbers = {"one": graph.const("one", np.float32(1)), "half": graph.const("half", np.float32(0.5)),
               "sqrt2": graph.const("sqrt2", np.float32(np.sqrt(2)))}
    shape = {"split": graph.const("split_heads", np.array([0, 0, n_heads, hidden // n_heads], np.int64)),
             "join": graph.const("join_heads", np.array([0, 0, hidden], np.int64)),
             "scale": graph.const("scale", np.float32(np.sqrt(hidden // n_heads)))}
    x, mask = embeddings(graph, tensors, config), additive_mask(graph, numbers)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"encoder.layer.{layer}"
        attended = attention(graph, tensors, x, mask, f"{prefix}.attention", shape)
        x = layer_norm(graph, tensors, graph.op("Add", attended, x), f"{prefix}.attention.output.LayerNorm",
                       config["layer_norm_eps"])
        inner = gelu(graph, linear(graph, tensors, x, f"{prefix}.intermediate.dense"), numbers)
        outer = linear(graph, tensors, inner, f"{prefix}.output.dense")
        x = layer_norm(graph, tensors, graph.op("Add", outer, x), f"{prefix}.output.LayerNorm",
                       config["layer_norm_eps"])
    pool(graph, x)
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
              for name in ("input_ids", "attention_mask", "token_type_ids")]
    outputs = [helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", hidden])]
    model = helper.make_model(helper.make_graph(graph.nodes, "bert", inputs, outputs, graph.initializers),
                              opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return n_heads, hidden
