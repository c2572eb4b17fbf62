# SPDX-License-Identifier: Apache-2.0
"""Binding of the C library for the bench: the structs of include/tkr/embed.h, load, embed token ids, nothing else."""
import ctypes as c

import numpy as np


class Error(c.Structure):
    _fields_ = [("status", c.c_int), ("origin", c.c_char_p), ("message", c.c_char * 512)]


class ModelOptions(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("precision", c.c_int), ("quantization", c.c_int),
                ("threads", c.c_uint), ("max_memory", c.c_uint64), ("batch_tokens", c.c_size_t),
                ("pooling", c.c_char_p), ("max_tokens", c.c_size_t), ("trust_remote_code", c.c_int),
                ("offline", c.c_int), ("cache_dir", c.c_char_p),
                ("weight_cache_dir", c.c_char_p), ("no_weight_cache", c.c_int), ("weight_cache_bytes", c.c_uint64),
                ("weight_cache_least", c.c_uint64), ("cpu", c.c_char_p), ("log", c.c_void_p),
                ("log_user", c.c_void_p), ("download", c.c_void_p), ("download_user", c.c_void_p),
                ("device", c.c_char_p), ("device_cache", c.c_uint64), ("base", c.c_char_p), ("decoder", c.c_char_p),
                ("no_jail", c.c_int), ("horizontal_first", c.c_int), ("max_pixels", c.c_size_t),
                ("max_image_pixels", c.c_size_t), ("max_image_bytes", c.c_size_t),
                ("max_video_bytes", c.c_size_t), ("allow_hosts", c.c_void_p),
                ("n_allow_hosts", c.c_size_t)]


class Pair(c.Structure):
    _fields_ = [("name", c.c_char_p), ("value", c.c_char_p)]


class ModelInfo(c.Structure):
    _fields_ = ([(name, c.c_char_p) for name in ("reference", "path", "architecture", "pooling", "precision",
                                                 "quantization", "fingerprint", "device", "default_prompt")] +
                [(name, c.c_size_t) for name in ("dimensions", "max_tokens", "vocab_size", "hidden_size", "n_layers",
                                                 "n_heads", "intermediate_size")] +
                [("n_parameters", c.c_uint64), ("bits_per_weight", c.c_double)] +
                [(name, c.c_uint64) for name in ("weights_bytes", "mapped_bytes", "workspace_bytes",
                                                 "memory_limit")] +
                [("threads", c.c_uint), ("batch_tokens", c.c_size_t), ("normalizes", c.c_int),
                 ("multi_vector", c.c_int), ("modalities", c.c_char_p), ("max_images", c.c_size_t),
                 ("max_image_patches", c.c_size_t), ("processor", c.c_char_p),
                 ("prompts", c.POINTER(Pair)), ("n_prompts", c.c_size_t), ("kernels", c.POINTER(Pair)),
                 ("n_kernels", c.c_size_t), ("notes", c.POINTER(Pair)), ("n_notes", c.c_size_t)])


class Part(c.Structure):
    _fields_ = [("kind", c.c_int), ("data", c.c_void_p), ("n_data", c.c_size_t), ("width", c.c_size_t),
                ("height", c.c_size_t), ("name", c.c_char_p), ("frames", c.c_void_p), ("n_frames", c.c_size_t),
                ("max_frames", c.c_size_t), ("fps", c.c_double), ("start_s", c.c_double), ("end_s", c.c_double),
                ("min_pixels", c.c_size_t), ("max_pixels", c.c_size_t), ("times", c.c_void_p)]


class Input(c.Structure):
    _fields_ = [("kind", c.c_int), ("text", c.c_char_p), ("n_text", c.c_size_t), ("pair", c.c_char_p),
                ("n_pair", c.c_size_t), ("ids", c.c_void_p), ("n_ids", c.c_size_t), ("spans", c.c_void_p),
                ("n_spans", c.c_size_t), ("prompt_name", c.c_char_p),
                ("prompt", c.c_char_p), ("instruction", c.c_char_p), ("parts", c.POINTER(Part)),
                ("n_parts", c.c_size_t), ("min_pixels", c.c_size_t), ("max_pixels", c.c_size_t),
                ("interpolate", c.c_int), ("width", c.c_size_t), ("height", c.c_size_t),
                ("video_pooling", c.c_int), ("hub_limits", c.c_int),
                ("options", c.c_void_p)]


class ResultItem(c.Structure):
    _fields_ = [("status", c.c_int), ("message", c.c_char_p), ("rows", c.POINTER(c.c_float)), ("n_rows", c.c_size_t),
                ("dimensions", c.c_size_t), ("n_tokens", c.c_size_t), ("n_tokens_untruncated", c.c_size_t),
                ("n_frames", c.c_size_t), ("start_s", c.c_double), ("end_s", c.c_double),
                ("n_lost_frames", c.c_size_t)]


class Tokens(c.Structure):
    _fields_ = [("ids", c.POINTER(c.c_int32)), ("offsets", c.POINTER(c.c_uint64)),
                ("special", c.POINTER(c.c_uint8)), ("n", c.c_size_t),
                ("n_untruncated", c.c_size_t)]


PRECISION = {"auto": 0, "f32": 1, "bf16": 2}
QUANTIZATION = {"auto": 0, "none": 1, "q8": 2, "q4": 3}
INPUT_TEXT, INPUT_TOKENS, INPUT_PARTS = 0, 1, 3
PART_RGB = 4


class Library:
    def __init__(self, path):
        self.c = c.CDLL(path)
        for name in ("tkr_version", "tkr_result_fingerprint"):
            getattr(self.c, name).restype = c.c_char_p
        self.c.tkr_model_get_info.restype = c.POINTER(ModelInfo)
        self.c.tkr_result_get.restype = ResultItem
        self.c.tkr_result_get.argtypes = [c.c_void_p, c.c_size_t]
        self.c.tkr_result_dimensions.restype = c.c_size_t
        self.c.tkr_result_dimensions.argtypes = [c.c_void_p]
        self.c.tkr_embed.argtypes = [c.c_void_p, c.c_void_p, c.c_void_p, c.c_size_t, c.c_void_p, c.c_void_p]
        self.version = self.c.tkr_version().decode()

    def call(self, name, *arguments):
        error = Error()
        if getattr(self.c, name)(*arguments, c.byref(error)):
            raise RuntimeError(f"{name}: {error.message.decode(errors='replace')}")

    def tokenize(self, reference, texts, max_tokens):
        """Ids of each text, special tokens included: to show that both sides' tokenizers agree."""
        options, handle = ModelOptions(), c.c_void_p()
        self.c.tkr_model_options_init(c.byref(options))
        options.max_tokens = max_tokens
        self.call("tkr_tokenizer_load", c.byref(handle), reference.encode(), c.byref(options))
        result = []
        for text in texts:
            data, tokens = text.encode(), Tokens()
            one = Input(kind=INPUT_TEXT, text=data, n_text=len(data))
            self.call("tkr_tokenize", c.byref(tokens), handle, c.byref(one), None)
            result.append(tokens.ids[:tokens.n])
            self.c.tkr_tokens_free(c.byref(tokens))
        self.c.tkr_tokenizer_free(c.byref(handle))
        return result


class Model:
    """A model and one session; `prepare` makes what `run` needs, so that timing `run` times the library alone."""

    def __init__(self, library, reference, precision, quantization, threads):
        self.library, self.model, self.session = library, c.c_void_p(), c.c_void_p()
        options = ModelOptions()
        library.c.tkr_model_options_init(c.byref(options))
        if options.struct_size != c.sizeof(ModelOptions):
            raise RuntimeError("tkr_ctypes.py and include/tkr/embed.h disagree about tkr_model_options")
        options.precision, options.quantization = PRECISION[precision], QUANTIZATION[quantization]
        options.threads, options.offline = threads, 1
        library.call("tkr_model_load", c.byref(self.model), reference.encode(), c.byref(options))
        library.call("tkr_session_create", c.byref(self.session), self.model)
        self.info = library.c.tkr_model_get_info(self.model).contents

    def prepare(self, sequences):
        arrays = [np.ascontiguousarray(ids, dtype=np.int32) for ids in sequences]
        inputs = (Input * len(arrays))()
        for one, array in zip(inputs, arrays):
            one.kind, one.ids, one.n_ids = INPUT_TOKENS, array.ctypes.data, array.size
        return inputs, arrays

    def prepare_pictures(self, pictures):
        """Of arrays [height, width, 3] of bytes; each picture is an input."""
        arrays = [np.ascontiguousarray(picture, dtype=np.uint8) for picture in pictures]
        inputs, parts = (Input * len(arrays))(), (Part * len(arrays))()
        for one, part, array in zip(inputs, parts, arrays):
            part.kind, part.data, part.n_data = PART_RGB, array.ctypes.data, array.size
            part.height, part.width = array.shape[:2]
            one.kind, one.parts, one.n_parts = INPUT_PARTS, c.pointer(part), 1
        return inputs, (arrays, parts)

    def run(self, prepared, vectors=None):
        inputs, _ = prepared
        result, error = c.c_void_p(), Error()
        status = self.library.c.tkr_embed(c.byref(result), self.session, inputs, len(inputs), None, c.byref(error))
        if status:
            raise RuntimeError(error.message.decode(errors="replace"))
        if vectors is not None:
            n = self.library.c.tkr_result_dimensions(result)
            for i in range(len(inputs)):
                item = self.library.c.tkr_result_get(result, i)
                if item.status:
                    raise RuntimeError(item.message.decode(errors="replace"))
                vectors.append(np.ctypeslib.as_array(item.rows, (n,)).copy())
        self.library.c.tkr_result_free(c.byref(result))
