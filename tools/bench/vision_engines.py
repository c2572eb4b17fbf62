# SPDX-License-Identifier: Apache-2.0
"""The engines for pictures, behind the interface of engines.py; a case is a list of the pictures' numbers.

Ours gets RGB bytes, which it turns into normalised patches within the time measured; peers get finished pixel values.
faster-clip takes encoded pictures only, so reading a stored PNG and its own preprocessing are in its time.
"""
import engines
import vision_pictures

# name: (number format, what it is)
ENGINES = {
    "onnxruntime-f32": ("f32", "onnxruntime f32, fused attention"),
    "ours-f32": ("f32", "tkr-embed f32"),
    "openvino-f32": ("f32", "OpenVINO f32"),
    "ours-bf16": ("bf16", "tkr-embed bf16"),
    "openvino-bf16": ("bf16", "OpenVINO bf16 hint"),
    "onnxruntime-int8": ("int8", "onnxruntime int8 dynamic per channel, fused attention"),
    "ours-q8": ("int8", "tkr-embed q8"),
    "openvino-int8": ("int8", "OpenVINO int8 (nncf post-training, weights and activations)"),
    "faster-clip": ("int8", "faster-clip (int8 weights, computes in f32)"),
}


class Ours(engines.Ours):
    def prepare(self, numbers):
        return self.model.prepare_pictures([vision_pictures.picture(number) for number in numbers])


class Peer:
    def __init__(self, setup):
        self.checkpoint = setup["model"]

    def prepare(self, numbers):
        return vision_pictures.pixel_values(self.checkpoint, numbers)

    def vectors(self, prepared):
        return self.run(prepared)


class OnnxRuntime(Peer):
    def __init__(self, name, setup):
        import onnxruntime
        super().__init__(setup)
        self.about = {"version": onnxruntime.__version__}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = setup["threads"], 1
        options.log_severity_level = 3
        file = "fused.onnx" if name == "onnxruntime-f32" else "int8.onnx"
        self.session = onnxruntime.InferenceSession(f"{setup['folder']}/{file}", options, ["CPUExecutionProvider"])

    def run(self, prepared):
        return self.session.run(None, {"pixel_values": prepared})[0]


class OpenVino(Peer):
    def __init__(self, name, setup):
        import openvino
        super().__init__(setup)
        core = openvino.Core()
        self.about = {"version": openvino.__version__.split("-")[0],
                      "bf16_on_this_cpu": "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")}
        config = {"INFERENCE_NUM_THREADS": setup["threads"], "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
                  "INFERENCE_PRECISION_HINT": "bf16" if name == "openvino-bf16" else "f32"}
        file = "openvino-int8.xml" if name == "openvino-int8" else "plain.onnx"
        self.request = core.compile_model(f"{setup['folder']}/{file}", "CPU", config).create_infer_request()

    def run(self, prepared):
        return self.request.infer([prepared], share_inputs=True)[0].copy()


class FasterClip:
    """Knows one shape and one file, in its own cache; both settings are read at the first use."""

    def __init__(self, name, setup):
        import importlib.metadata
        import os
        os.environ |= {"FASTER_CLIP_CACHE": f"{setup['folder']}/faster-clip",
                       "RAYON_NUM_THREADS": str(setup["threads"])}
        import faster_clip
        self.model = faster_clip.ClipModel()
        self.about = {"version": importlib.metadata.version("faster-clip")}

    def prepare(self, numbers):
        return [vision_pictures.png(number) for number in numbers]

    def run(self, prepared):
        return self.model.encode_image(prepared)

    def vectors(self, prepared):
        return self.run(prepared)


def create(name, setup):
    kinds = {"ours": Ours, "onnxruntime": OnnxRuntime, "openvino": OpenVino, "faster": FasterClip}
    return kinds[name.split("-")[0]](name, setup)
