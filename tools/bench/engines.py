# SPDX-License-Identifier: Apache-2.0
"""The engines behind one interface: `prepare(sequences)` makes the inputs, `run(prepared)` gives the vectors.

Peers get padded batches of at most 32, sorted by length, made before the clock starts; ours gets all texts as they are.
Mean pooling and length 1 are part of every engine's work. Imports stay inside: a worker loads its own engine only.
"""
import workload

# name: (number format, what it is)
ENGINES = {
    "ours-f32": ("f32", "tkr-embed f32"),
    "ours-bf16": ("bf16", "tkr-embed bf16"),
    "ours-q8": ("int8", "tkr-embed q8"),
    "onnxruntime-f32": ("f32", "onnxruntime f32, fused graph"),
    "onnxruntime-int8": ("int8", "onnxruntime int8 dynamic per channel, fused graph"),
    "openvino-f32": ("f32", "OpenVINO f32"),
    "openvino-bf16": ("bf16", "OpenVINO bf16 hint"),
    "openvino-int8": ("int8", "OpenVINO int8 (nncf post-training, weights and activations)"),
    "ctranslate2-f32": ("f32", "CTranslate2 f32"),
    "ctranslate2-int8": ("int8", "CTranslate2 int8"),
    "torch-f32": ("f32", "sentence-transformers on torch f32"),
    "torch-bf16": ("bf16", "sentence-transformers on torch bf16"),
}
REFERENCE = "torch-f32"


class Ours:
    def __init__(self, name, setup):
        import tkr_ctypes
        precision, quantization = {"ours-f32": ("f32", "none"), "ours-bf16": ("bf16", "none"),
                                   "ours-q8": ("auto", "q8")}[name]
        library = tkr_ctypes.Library(setup["library"])
        self.model = tkr_ctypes.Model(library, setup["model"], precision, quantization, setup["threads"])
        info = self.model.info
        self.about = {"version": library.version, "fingerprint": info.fingerprint.decode(),
                      "weights_bytes": info.weights_bytes, "batch_tokens": info.batch_tokens}

    def prepare(self, sequences):
        return self.model.prepare(sequences)

    def run(self, prepared):
        self.model.run(prepared)

    def vectors(self, prepared):
        rows = []
        self.model.run(prepared, rows)
        return rows


class Peer:
    """Runs batch by batch; `forward` gives [batch, hidden]."""

    def prepare(self, sequences):
        return [(chosen, self.inputs(ids, mask)) for chosen, ids, mask in workload.padded_batches(sequences)]

    def run(self, prepared):
        for _, inputs in prepared:
            self.forward(inputs)

    def vectors(self, prepared):
        rows = {}
        for chosen, inputs in prepared:
            rows.update(zip(chosen, self.forward(inputs)))
        return [rows[i] for i in range(len(rows))]

    def inputs(self, ids, mask):
        import numpy as np
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


class OnnxRuntime(Peer):
    def __init__(self, name, setup):
        import onnxruntime
        self.about = {"version": onnxruntime.__version__}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = setup["threads"], 1
        options.log_severity_level = 3
        file = "fused.onnx" if name == "onnxruntime-f32" else f"int8-{setup['onnxruntime_int8']}.onnx"
        if name == "onnxruntime-int8":
            self.about["weights"] = setup["onnxruntime_int8"]
        self.session = onnxruntime.InferenceSession(f"{setup['folder']}/{file}", options, ["CPUExecutionProvider"])
        self.names = {entry.name for entry in self.session.get_inputs()}

    def inputs(self, ids, mask):
        import numpy as np
        made = super().inputs(ids, mask)
        kind = {entry.name: entry.type for entry in self.session.get_inputs()}
        return {name: made[name].astype(np.int32 if "int32" in kind[name] else np.int64) for name in self.names}

    def forward(self, inputs):
        return self.session.run(None, inputs)[0]


class OpenVino(Peer):
    def __init__(self, name, setup):
        import openvino
        core = openvino.Core()
        config = {"INFERENCE_NUM_THREADS": setup["threads"], "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
                  "INFERENCE_PRECISION_HINT": "bf16" if name == "openvino-bf16" else "f32"}
        file = "openvino-int8.xml" if name == "openvino-int8" else "model.onnx"
        compiled = core.compile_model(f"{setup['folder']}/{file}", "CPU", config)
        self.request = compiled.create_infer_request()
        self.about = {"version": openvino.__version__.split("-")[0],
                      "runs_as": str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()),
                      "bf16_on_this_cpu": "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")}

    def forward(self, inputs):
        return self.request.infer(inputs, share_inputs=True)[0].copy()


class CTranslate2(Peer):
    def __init__(self, name, setup):
        import ctranslate2
        kind = "float32" if name == "ctranslate2-f32" else "int8"
        self.about = {"version": ctranslate2.__version__}
        self.encoder = ctranslate2.Encoder(f"{setup['folder']}/ct2-{kind}", device="cpu", compute_type=kind,
                                           inter_threads=1, intra_threads=setup["threads"])

    def inputs(self, ids, mask):
        import ctranslate2
        import numpy as np
        ids = np.ascontiguousarray(ids, np.int32)
        lengths = np.ascontiguousarray(mask.sum(1), np.int32)
        views = ctranslate2.StorageView.from_array(ids), ctranslate2.StorageView.from_array(lengths)
        weights = (mask / mask.sum(1, keepdims=True)).astype(np.float32)[:, None]
        return views, weights, (ids, lengths)

    def forward(self, inputs):
        import numpy as np
        (ids, lengths), weights, _ = inputs
        hidden = np.asarray(self.encoder.forward_batch(ids, lengths).last_hidden_state)
        mean = np.matmul(weights, hidden)[:, 0]
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


class Torch(Peer):
    def __init__(self, name, setup):
        import cuda_stubs
        cuda_stubs.load(f"{setup['folder']}/stubs")
        import sentence_transformers
        import torch
        torch.set_num_threads(setup["threads"])
        kind = torch.bfloat16 if name == "torch-bf16" else torch.float32
        self.torch = torch
        self.model = sentence_transformers.SentenceTransformer(
            setup["model"], device="cpu", local_files_only=True,
            model_kwargs={"dtype": kind, "attn_implementation": "sdpa"}).eval()
        self.about = {"version": torch.__version__, "sentence-transformers": sentence_transformers.__version__}

    def inputs(self, ids, mask):
        made = super().inputs(ids, mask)
        return {name: self.torch.from_numpy(value) for name, value in made.items()}

    def forward(self, inputs):
        with self.torch.inference_mode():
            return self.model(dict(inputs))["sentence_embedding"].float().numpy()


def create(name, setup):
    family = name.split("-")[0]
    kinds = {"ours": Ours, "onnxruntime": OnnxRuntime, "openvino": OpenVino, "ctranslate2": CTranslate2,
             "torch": Torch}
    return kinds[family](name, setup)
