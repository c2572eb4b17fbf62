# SPDX-License-Identifier: Apache-2.0
"""One peer on one made checkpoint: prints the seconds of each call as JSON.

usage: shape_peer.py NAME FOLDER BATCH TOKENS THREADS SECONDS"""
import json
import sys
import time
from pathlib import Path

import cuda_stubs


def load_torch(folder, dtype, threads):
    cuda_stubs.load(str(Path(folder).parent.parent / "stubs"))
    import torch
    import transformers
    torch.set_num_threads(threads)
    return torch, transformers.AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()


def torch_call(folder, ids, threads):
    torch, model = load_torch(folder, "bfloat16", threads)
    tokens = torch.tensor(ids)

    def call():
        with torch.inference_mode():
            model(input_ids=tokens, **({"use_cache": False} if "qwen" in model.config.model_type else {}))
    return call


def openvino_call(folder, ids, threads, bits):
    """Weights compressed by nncf as its documentation recommends: int8 per channel, int4 in groups of 64."""
    import nncf
    import openvino
    torch, model = load_torch(folder, "float32", threads)
    tokens = torch.tensor(ids)
    model.config.use_cache = False

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids):
            return self.model(input_ids=input_ids).last_hidden_state
    graph = openvino.convert_model(Hidden(), example_input=tokens)
    if bits == 8:
        graph = nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_SYM)
    else:
        graph = nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT4_SYM, group_size=64)
    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
                                                            "PERFORMANCE_HINT": "LATENCY"})
    request, inputs = compiled.create_infer_request(), [tokens.numpy()]
    return lambda: request.infer(inputs)


def main():
    name, folder, batch, tokens, threads, seconds = sys.argv[1:]
    with open(f"{folder}/config.json", encoding="utf-8") as file:
        vocabulary = json.load(file)["vocab_size"]
    ids = [[(i * 7919 + b * 104729 + 13) % vocabulary for i in range(int(tokens))] for b in range(int(batch))]
    if name == "torch-bf16":
        call = torch_call(folder, ids, int(threads))
    else:
        call = openvino_call(folder, ids, int(threads), 8 if name == "openvino-int8" else 4)
    call()
    took, begin = [], time.perf_counter()
    while len(took) < 3 or time.perf_counter() - begin < float(seconds):
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    print(json.dumps(took))


if __name__ == "__main__":
    main()
