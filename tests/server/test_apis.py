# SPDX-License-Identifier: Apache-2.0
"""Transcripts of the APIs of others over HTTP: statuses and exact JSON. What the pipeline refuses, each API says in its
own shape; vectors have the bits of our own route."""
import base64
import json
import os
import struct
import unittest

import harness

GOLDEN = os.path.join(os.environ["TKR_TEST_DIR"], "golden")
TEXT = "I walk"
LONG = "walk " * 200


def floats(data):
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def single(row):
    """The numbers as float32, as a client would keep them."""
    return list(struct.unpack(f"<{len(row)}f", struct.pack(f"<{len(row)}f", *row)))


class ApiTest(harness.ServerTest):
    def vectors(self, texts, **options):
        """The same from our own route."""
        reply = self.ok("/embed/text", {"texts": texts, "normalize": True, **options})
        return [single(row) for row in reply["embeddings"]]

    def says(self, path, body, status, expected, **options):
        """The exact answer to a mistake."""
        reply = self.server.post(path, body, **options)
        self.assertEqual((reply.status, reply.json()), (status, expected))
        self.assertEqual(reply.headers["content-type"], "application/json")
        self.assertTrue(reply.headers["x-request-id"])
        return reply


class Texts(ApiTest):
    MODEL, ARGS = os.path.join(GOLDEN, "bert", "bert-mean", "model"), ("--model-alias", "tiny")

    def test_openai(self):
        wanted = self.vectors([TEXT, "x"])
        reply = self.ok("/v1/embeddings", {"model": "any", "input": [TEXT, "x"]})
        self.assertEqual([single(item.pop("embedding")) for item in reply["data"]], wanted)
        self.assertEqual(reply, {"object": "list", "model": "tiny", "usage": {"prompt_tokens": 8, "total_tokens": 8},
                                 "data": [{"object": "embedding", "index": 0}, {"object": "embedding", "index": 1}]})
        reply = self.ok("/embeddings", {"input": TEXT, "encoding_format": "base64"})
        self.assertEqual(floats(base64.b64decode(reply["data"][0]["embedding"])), wanted[0])
        reply = self.ok("/v1/embeddings", {"input": [3, 287, 301, 560, 4]})
        self.assertEqual(single(reply["data"][0]["embedding"]), wanted[0])
        reply = self.ok("/v1/embeddings", {"input": TEXT, "dimensions": 8})
        self.assertEqual([single(reply["data"][0]["embedding"])], self.vectors([TEXT], dimensions=8))

    def test_openai_models(self):
        model = self.server.get("/v1/models/tiny").json()
        self.assertEqual({**model, "created": 0},
                         {"id": "tiny", "object": "model", "created": 0, "owned_by": "tkr-embed"})
        self.assertEqual(self.server.get("/v1/models").json(), {"object": "list", "data": [model]})
        self.assertEqual(self.server.get("/models/tiny").json(), model)
        reply = self.server.get("/v1/models/org/other")
        self.assertEqual((reply.status, reply.json()), (404, {"error": {
            "message": "The model 'org/other' does not exist or you do not have access to it.",
            "type": "invalid_request_error", "param": "model", "code": "model_not_found"}}))

    def test_openai_mistakes(self):
        def error(message, param=None):
            return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": None}}
        self.says("/v1/embeddings", {"input": TEXT, "dimensions": 49}, 400, error(
            "Invalid value for 'dimensions' = 49. Must be less than or equal to 48.", "dimensions"))
        self.says("/v1/embeddings", {"input": [287, 760]}, 400, error(
            "input[1]: token id 760 is not in the vocabulary (0 to 759)", "input"))
        self.says("/v1/embeddings", {"input": TEXT, "encoding_format": "hex"}, 400, error(
            "encoding_format: is \"hex\", expected \"float\" or \"base64\"", "encoding_format"))
        self.says("/v1/embeddings", {"input": TEXT, "model": 3}, 400,
                  error("\"model\" is an integer, expected a string", "model"))
        reply = self.server.post("/v1/embeddings", b'{"input":')
        self.assertEqual((reply.status, reply.json()["error"]["type"]), (400, "invalid_request_error"))
        reply = self.server.post("/v1/embeddings", b"x", headers={"Content-Type": "text/plain"})
        self.assertEqual((reply.status, reply.json()["error"]["type"]), (415, "invalid_request_error"))

    def test_tei(self):
        wanted = self.vectors([TEXT, "x"])
        for path in ("/", "/embed"):
            self.assertEqual([single(row) for row in self.ok(path, {"inputs": [TEXT, "x"]})], wanted)
        self.assertEqual([single(row) for row in self.ok("/embed", {"inputs": [[3, 287, 301, 560, 4], "x"]})], wanted)
        raw = self.vectors([TEXT], normalize=False)
        self.assertEqual([single(row) for row in self.ok("/embed", {"inputs": TEXT, "normalize": False})], raw)
        reply = self.server.post("/embed", {"inputs": TEXT})
        self.assertTrue({"x-compute-type", "x-compute-time", "x-compute-characters", "x-compute-tokens",
                         "x-total-time", "x-tokenization-time", "x-queue-time", "x-inference-time"}
                        <= set(reply.headers))

    def test_tei_tokens(self):
        """Last hidden states: their mean is what this model pools."""
        rows = self.ok("/embed_all", {"inputs": [TEXT, "x"]})
        self.assertEqual([len(item) for item in rows], [5, 3])
        mean = [sum(column) / 5 for column in zip(*rows[0])]
        for a, b in zip(mean, self.vectors([TEXT], normalize=False)[0]):
            self.assertAlmostEqual(a, b, places=5)

    def test_tei_similarity(self):
        body = {"inputs": {"source_sentence": TEXT, "sentences": [TEXT, "x"]}}
        a, b = self.vectors([TEXT, "x"])
        self.assertEqual([round(score, 5) for score in self.ok("/similarity", body)],
                         [1, round(sum(x * y for x, y in zip(a, b)), 5)])
        # huggingface_hub posts it to the bare URL
        self.assertEqual(self.ok("/", {**body, "parameters": {}}), self.ok("/similarity", body))
        self.says("/", {"inputs": {"source_sentence": TEXT}}, 422, {
            "error": "inputs.sentences: is missing", "error_type": "Validation"})

    def test_tei_tokenize(self):
        tokens = self.ok("/tokenize", {"inputs": ["ü I"]})
        self.assertEqual([(t["text"], t["special"], t["start"], t["stop"]) for t in tokens[0]],
                         [("[CLS]", True, None, None), ("ü", False, 0, 2), ("I", False, 3, 4),
                          ("[SEP]", True, None, None)])
        ids = [token["id"] for token in tokens[0]]
        self.assertEqual(self.ok("/decode", {"ids": ids}), ["u i"])
        self.assertEqual(self.ok("/decode", {"ids": [ids, ids[2:3]], "skip_special_tokens": False}),
                         ["[CLS] u i [SEP]", "i"])
        self.assertEqual(len(self.ok("/tokenize", {"inputs": LONG})[0]), 402)  # more than the model takes

    def test_tei_mistakes(self):
        def error(message, kind="Validation"):
            return {"error": message, "error_type": kind}
        self.says("/embed", {"inputs": LONG, "truncate": False}, 422, error(
            "Input validation error: `inputs` must have less than 40 tokens. Given: 402"))
        self.says("/embed", {"inputs": [287] * 41, "truncate": False}, 422, error(
            "Input validation error: `inputs` must have less than 40 tokens. Given: 41"))
        self.says("/embed", {"inputs": []}, 400, error("`inputs` cannot be empty", "Empty"))
        self.says("/embed", {"inputs": ""}, 400, error("Input validation error: `inputs` cannot be empty", "Empty"))
        self.says("/embed", {"inputs": ["a"] * 2049}, 422, error("batch size 2049 > maximum allowed batch size 2048"))
        self.says("/rerank", {"query": "a", "texts": ["b"]}, 424, error(
            "Backend error: model is not a re-ranker model", "Backend"))
        for path, body in (("/embed", {"inputs": 3}), ("/embed", {}), ("/embed", {"inputs": TEXT, "normalize": None}),
                           ("/embed", {"inputs": TEXT, "truncation_direction": "up"}), ("/decode", {"ids": "x"}),
                           ("/similarity", {"inputs": {"source_sentence": 1, "sentences": ["x"]}}),
                           ("/embed", {"inputs": TEXT, "prompt_name": "none"}), ("/tokenize", {"inputs": [3]})):
            reply = self.server.post(path, body)
            self.assertEqual((reply.status, reply.json()["error_type"]), (422, "Validation"), (path, body, reply.body))
        self.assertEqual(self.server.post("/embed", b"{").json()["error_type"], "Validation")

    def test_truncation_is_told(self):
        for path, body in (("/embed", {"inputs": LONG}), ("/v1/embeddings", {"input": ["x", LONG]}),
                           ("/api/embed", {"input": LONG}), ("/v2/embed", {"texts": [LONG]})):
            reply = self.server.post(path, body)
            self.assertEqual((reply.status, reply.headers.get("x-truncated-inputs")), (200, "1"), (path, reply.body))
        left = self.ok("/embed", {"inputs": "x " + LONG, "truncate": True, "truncation_direction": "Left"})
        self.assertEqual(left, self.ok("/embed", {"inputs": LONG, "truncate": True, "truncation_direction": "left"}))

    def test_cohere(self):
        reply = self.ok("/v2/embed", {"model": "m", "texts": [TEXT], "embedding_types": ["float", "base64"]})
        wanted = self.vectors([TEXT])[0]
        self.assertEqual(single(reply["embeddings"]["float"][0]), wanted)
        self.assertEqual(floats(base64.b64decode(reply["embeddings"]["base64"][0])), wanted)
        self.assertEqual({**reply, "id": None, "embeddings": None}, {
            "id": None, "response_type": "embeddings_by_type", "embeddings": None, "texts": [TEXT],
            "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 5}}})
        self.says("/v2/embed", {"texts": [LONG], "truncate": "NONE"}, 400, {
            "message": "too many tokens: total number of tokens in the input cannot exceed 40 - received 402"})
        self.says("/v2/embed", {}, 400, {
            "message": "invalid request: exactly one of texts, images and inputs must be given"})
        reply = self.server.post("/v2/embed", {"images": ["data:image/png;base64,AAAA"]})
        self.assertEqual((reply.status, list(reply.json())), (400, ["message"]))

    def test_jina(self):
        reply = self.ok("/v1/embeddings", {"model": "m", "input": [{"text": TEXT}, "x"], "task": "retrieval.query",
                                           "embedding_type": ["float", "ubinary"]})
        wanted = self.vectors([TEXT, "x"])
        self.assertEqual([single(item["embedding"]["float"]) for item in reply["data"]], wanted)
        self.assertEqual([len(item["embedding"]["ubinary"]) for item in reply["data"]], [6, 6])
        self.assertEqual(reply["usage"], {"prompt_tokens": 8, "total_tokens": 8})
        self.says("/v1/embeddings", {"input": [{"text": TEXT}], "late_chunking": True}, 422, {
            "detail": "late_chunking: is not done here; send each chunk as an input of its own, with false"})
        reply = self.server.post("/v1/embeddings", {"input": [{"image": "AAAA"}]})
        self.assertEqual((reply.status, list(reply.json())), (400, ["detail"]))

    def test_what_selects_an_api(self):
        """Fields that change a vector do so beside plain texts, too; null is absent."""
        raw, cut = self.vectors([TEXT], normalize=False), self.vectors([TEXT], dimensions=8)
        for path in ("/v1/embeddings", "/embeddings"):
            reply = self.ok(path, {"input": [TEXT], "normalized": False})
            self.assertEqual([single(item["embedding"]) for item in reply["data"]], raw)
            self.says(path, {"input": [TEXT], "return_tokenized_input": True}, 422, {
                "detail": "return_tokenized_input: is not done here; POST /tokenize gives the tokens"})
            self.says(path, {"input": [TEXT], "return_multivector": True}, 422, {
                "detail": 'return_multivector: must be false: the model "tiny" gives one vector an input'})
            for key in ("truncate", "truncation"):
                reply = self.server.post(path, {"input": ["x", LONG], key: False})
                self.assertIn(reply.status, (400, 422), key)
                self.assertRegex(reply.json()["detail"], r"^input\[1\]: .*402 tokens")
            reply = self.ok(path, {"input": [TEXT], "input_type": "query", "dimensions": 8})
            self.assertEqual([single(item["embedding"]) for item in reply["data"]], cut)
            reply = self.ok(path, {"input": [{"text": TEXT}], "encoding_format": "base64"})
            self.assertEqual(floats(base64.b64decode(reply["data"][0]["embedding"])), self.vectors([TEXT])[0])
            self.assertEqual(self.ok(path, {"input": TEXT, "content": None})["object"], "list")
        reply = self.ok("/v1/embeddings", {"input": [TEXT], "embd_normalize": -1})
        self.assertEqual([single(item["embedding"]) for item in reply["data"]], raw)
        reply = self.ok("/embeddings", {"input": [TEXT], "embd_normalize": -1, "encoding_format": "base64"})
        self.assertEqual(floats(base64.b64decode(reply[0]["embedding"][0])), raw[0])
        self.assertEqual(len(self.ok("/tokenize", {"inputs": "x", "content": None})[0]), 3)

    def test_texts_of_one_item(self):
        """A blank is between them; they count as text."""
        content = [{"type": "text", "text": "I"}, {"type": "text", "text": "walk"}]
        wanted = self.vectors([TEXT])[0]
        reply = self.ok("/v2/embed", {"inputs": [{"content": content}]})
        self.assertEqual(single(reply["embeddings"]["float"][0]), wanted)
        reply = self.ok("/v1/multimodalembeddings", {"inputs": [{"content": content}]})
        self.assertEqual(single(reply["data"][0]["embedding"]), wanted)
        self.assertEqual((reply["usage"]["text_tokens"], reply["usage"]["total_tokens"]), (5, 5))

    def test_voyage(self):
        reply = self.ok("/v1/embeddings", {"model": "m", "input": [TEXT], "input_type": None, "output_dtype": "uint8",
                                           "encoding_format": "base64"})
        self.assertEqual(list(base64.b64decode(reply["data"][0]["embedding"])),
                         [round(value * 127) + 128 for value in self.vectors([TEXT])[0]])
        reply = self.server.post("/v1/embeddings", {"input": LONG, "input_type": None, "truncation": False})
        self.assertEqual((reply.status, list(reply.json())), (400, ["detail"]))
        self.says("/v1/multimodalembeddings", {"inputs": []}, 400, {"detail": "inputs: is an empty list"})

    def test_ollama(self):
        reply = self.ok("/api/embed", {"model": "all-minilm:latest", "input": [TEXT, ""]},
                        headers={"Content-Type": "application/x-www-form-urlencoded"})
        wanted = self.vectors([TEXT, ""])
        self.assertEqual([single(row) for row in reply["embeddings"]], wanted)
        self.assertGreater(reply["total_duration"], 0)
        self.assertEqual((reply["model"], reply["prompt_eval_count"]), ("all-minilm:latest", 7))
        self.assertEqual(self.ok("/api/embed", {"model": "m", "input": []}), {"model": "m", "embeddings": []})
        self.assertEqual(self.ok("/api/embeddings", {"model": "m", "prompt": ""}), {"embedding": []})
        raw = self.ok("/api/embeddings", {"model": "m", "prompt": TEXT})
        self.assertEqual([single(raw["embedding"])], self.vectors([TEXT], normalize=False))
        self.says("/api/embed", {"input": LONG, "truncate": False}, 400,
                  {"error": "the input length exceeds the context length"})
        self.says("/api/embed", {"input": {"a": 1}}, 400, {"error": "invalid input type"})
        self.says("/api/embed", b"", 400, {"error": "missing request body"})
        tags = self.server.get("/api/tags").json()["models"]
        self.assertEqual([(tag["name"], len(tag["digest"]), tag["details"]["format"]) for tag in tags],
                         [("tiny", 64, "safetensors")])
        self.assertRegex(self.server.get("/api/version").json()["version"], r"^\d+\.\d+\.\d+$")

    def test_llama_server(self):
        wanted = self.vectors([TEXT])[0]
        reply = self.ok("/embeddings", {"content": TEXT})
        self.assertEqual([(item["index"], [single(row) for row in item["embedding"]]) for item in reply],
                         [(0, [wanted])])
        mixed = self.ok("/embedding", {"input": [[3, 287, "walk", 4], TEXT]})
        self.assertEqual([[single(row) for row in item["embedding"]] for item in mixed], [[wanted], [wanted]])
        mixed = self.ok("/embeddings", {"input": [3, 287, "walk", 4]})
        self.assertEqual([[single(row) for row in item["embedding"]] for item in mixed], [[wanted]])
        for prompts, n in (([3, 287, "walk", 4], 1), ([[3, 287, "walk", 4], TEXT], 2)):
            reply = self.ok("/v1/embeddings", {"input": prompts, "model": "mine"})
            self.assertEqual([single(item["embedding"]) for item in reply["data"]], [wanted] * n)
            self.assertEqual((reply["object"], reply["model"]), ("list", "mine"))
        self.assertEqual(self.ok("/v1/embeddings", {"input": [3, "x"]})["model"], "tiny")
        largest = self.ok("/embedding", {"content": TEXT, "embd_normalize": 0})[0]["embedding"][0]
        self.assertAlmostEqual(max(abs(value) for value in largest), 32760, places=1)
        raw, cut = (self.vectors([TEXT], normalize=norm, dimensions=8)[0] for norm in (False, True))
        for path, key in (("/embedding", "content"), ("/embeddings", "content"), ("/v1/embeddings", "content")):
            for norm, row in ((2, cut), (-1, raw)):
                reply = self.ok(path, {key: TEXT, "dimensions": 8, "embd_normalize": norm})
                self.assertEqual(single(reply[0]["embedding"][0]), row)
            reply = self.server.post(path, {key: TEXT, "dimensions": 49})
            self.assertEqual((reply.status, reply.json()["error"]["code"]), (400, 400), reply.body)
        reply = self.ok("/v1/embeddings", {"input": TEXT, "embd_normalize": 2, "dimensions": 8})
        self.assertEqual(single(reply["data"][0]["embedding"]), cut)
        self.assertEqual(self.ok("/tokenize", {"content": TEXT}), {"tokens": [287, 301, 560]})
        self.assertEqual(self.ok("/tokenize", {"content": TEXT, "add_special": True}),
                         {"tokens": [3, 287, 301, 560, 4]})
        self.assertEqual(self.ok("/detokenize", {"tokens": [287, 301, 560]}), {"content": "i walk"})
        nested = self.ok("/embedding", {"content": [[TEXT, "x"], ["x y"]]})
        self.assertEqual([[single(row) for row in item["embedding"]] for item in nested],
                         [[row] for row in self.vectors([TEXT, "x", "x y"])])
        reply = self.ok("/v1/embeddings", {"input": [{"prompt_string": TEXT}]})
        self.assertEqual(single(reply["data"][0]["embedding"]), wanted)
        self.says("/embedding", {"content": TEXT, "encoding_format": "hex"}, 400, {"error": {
            "code": 400, "message": "The format to return the embeddings in. Can be either float or base64",
            "type": "invalid_request_error"}})
        self.says("/embedding", {"content": ""}, 400, {"error": {
            "code": 400, "message": "Input content cannot be empty", "type": "invalid_request_error"}})
        self.says("/embeddings", {"content": [760]}, 400, {"error": {
            "code": 400, "message": "content[0]: is no token id of the vocabulary (0 to 759)",
            "type": "invalid_request_error"}})


class Pieces(harness.ServerTest):
    """Pieces of llama-server's /tokenize join to the text of the tokens, whatever the kind of tokenizer."""
    FOLDERS = {"wordpiece": ("bert", "bert-mean"), "unigram": ("xlm_roberta", "xlmr-e5"), "bytes": ("qwen3", None),
               "clip": ("clip", "clip"), "spm": ("gemma3_text", "gemma3-dense")}
    TEXTS = ("Hello world again", "walking talked", "\N{FOX FACE}\N{FOX FACE} \u65e5\u672c\u8a9e x", " two  blanks ",
             "\ufffd" * 40, "\N{FOX FACE}" * 40)

    @classmethod
    def setUpClass(cls):
        config = os.path.join(os.environ["TKR_BUILD_DIR"], "test_apis_pieces.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write("models:\n")
            for name, (family, folder) in cls.FOLDERS.items():
                folder = folder or sorted(os.listdir(os.path.join(GOLDEN, family)))[0]
                file.write(f"  - name: {os.path.join(GOLDEN, family, folder, 'model')}\n    alias: {name}\n")
        cls.server = harness.Server("--config", config, model=None)

    def pieces(self, model, text, **more):
        tokens = self.ok("/tokenize", {"model": model, "content": text, "with_pieces": True, **more})["tokens"]
        ids = [token["id"] for token in tokens]
        self.assertEqual(ids, self.ok("/tokenize", {"model": model, "content": text, **more})["tokens"])
        whole = self.ok("/detokenize", {"model": model, "tokens": ids})["content"]
        return [token["piece"] for token in tokens], whole

    def test_they_join(self):
        for model in self.FOLDERS:
            for text in self.TEXTS:
                for more in ({}, {"add_special": True}):
                    with self.subTest(model=model, text=text, more=more):
                        pieces, whole = self.pieces(model, text, **more)
                        self.assertEqual("".join(pieces), whole)
        pieces, whole = self.pieces("unigram", "Hello world again")
        self.assertEqual(whole, "Hello world again")
        self.assertNotIn("##", "".join(self.pieces("wordpiece", "walking")[0]))


class Templates(ApiTest):
    """A model whose texts stand in a template of a chat."""
    MODEL = os.path.join(GOLDEN, "qwen3_vl", "qwen3_vl", "model")

    def test_llama_server_reads_texts_alone(self):
        ids = self.ok("/tokenize", {"content": "Hi"})["tokens"]
        self.assertLess(len(ids), 3)
        self.assertEqual(self.ok("/detokenize", {"tokens": ids}), {"content": "Hi"})
        self.assertEqual(self.ok("/tokenize", {"content": ""}), {"tokens": []})
        wanted = self.ok("/v1/embeddings", {"input": [5, *ids, 6]})
        for content in ([5, "Hi", 6], [*ids, 6]):
            reply = self.server.post("/embedding", {"content": content})
            self.assertEqual(reply.headers["x-compute-tokens"], str(len(ids) + (2 if content[0] == 5 else 1)))
        self.assertEqual(self.ok("/embedding", {"content": [5, "Hi", 6]})[0]["embedding"][0],
                         wanted["data"][0]["embedding"])
        self.assertGreater(len(self.ok("/tokenize", {"inputs": "Hi"})[0]), 20)  # TEI: what /embed reads

    def test_tokens_of_texts_beside_pictures(self):
        with open(os.path.join(os.path.dirname(self.MODEL), "inputs", "a.png"), "rb") as file:
            uri = "data:image/png;base64," + base64.b64encode(file.read()).decode()
        n = len(self.ok("/tokenize", {"content": "What is shown here?"})["tokens"])
        text, image = {"type": "text", "text": "What is shown here?"}, {"type": "image_base64", "image_base64": uri}
        usage = [self.ok("/v1/multimodalembeddings", {"inputs": [{"content": content}]})["usage"]
                 for content in ([image, text], [image], [text])]
        self.assertEqual([(u["text_tokens"], u["image_pixels"] > 0) for u in usage],
                         [(n, True), (0, True), (usage[2]["total_tokens"], False)])
        self.assertEqual(usage[0]["total_tokens"], usage[1]["total_tokens"] + n)
        image = {"type": "image_url", "image_url": {"url": uri}}
        reply = self.ok("/v2/embed", {"inputs": [{"content": [text, image]}]})
        self.assertEqual(reply["meta"]["billed_units"],
                         {"input_tokens": n, "images": 1, "image_tokens": usage[1]["total_tokens"]})


class Strict(ApiTest):
    """Names must fit, long texts are refused."""
    MODEL = os.path.join(GOLDEN, "bert", "bert-mean", "model")
    ARGS = ("--model-alias", "tiny", "--strict-model", "--auto-truncate", "false")

    def test_model_not_found(self):
        reply = self.server.post("/v1/embeddings", {"input": "x", "model": "other"})
        self.assertEqual((reply.status, reply.json()["error"]["code"], reply.json()["error"]["param"]),
                         (404, "model_not_found", "model"))
        self.says("/api/embed", {"input": "x", "model": "other"}, 404, {"error": "model 'other' not found"})
        self.assertEqual(self.ok("/api/embed", {"input": "x", "model": "tiny:latest"})["model"], "tiny:latest")
        self.says("/api/embed", {"input": "x", "model": "other:latest"}, 404,
                  {"error": "model 'other:latest' not found"})
        self.says("/api/embeddings", {"prompt": "x", "model": "other"}, 404,
                  {"error": "model \"other\" not found, try pulling it first"})
        reply = self.server.post("/v1/embeddings", {"input": [{"text": "x"}], "model": "other"})
        self.assertEqual((reply.status, list(reply.json())), (400, ["detail"]))
        reply = self.server.post("/v1/embeddings", {"input": ["x"], "input_type": None, "model": "other"})
        self.assertEqual((reply.status, list(reply.json())), (400, ["detail"]))
        self.assertEqual(self.server.post("/embedding", {"content": "x", "model": "other"}).json()["error"]["type"],
                         "not_found_error")
        self.ok("/v1/embeddings", {"input": "x", "model": "tiny"})

    def test_too_long(self):
        """Never a 5xx, and the API's own words."""
        self.says("/v1/embeddings", {"input": LONG}, 400, {"error": {
            "message": "This model's maximum context length is 40 tokens, however you requested 402 tokens (402 "
                       "in your prompt; 0 for the completion). Please reduce your prompt; or completion length.",
            "type": "invalid_request_error", "param": "input", "code": None}})
        self.says("/embeddings", {"content": LONG}, 400, {"error": {
            "code": 400, "message": "input (402 tokens) is larger than the max context size (40 tokens). skipping",
            "type": "exceed_context_size_error", "n_prompt_tokens": 402, "n_ctx": 40}})
        for path, body in (("/embed", {"inputs": LONG}), ("/v2/embed", {"texts": [LONG]}),
                           ("/api/embed", {"input": LONG}), ("/v1/embeddings", {"input": LONG, "input_type": None}),
                           ("/v1/embeddings", {"input": [{"text": LONG}]}), ("/embed_all", {"inputs": LONG})):
            self.assertIn(self.server.post(path, body).status, (400, 422), path)
        self.says("/v2/embed", {"texts": ["x", LONG], "truncate": "NONE"}, 400, {
            "message": "texts[1]: too many tokens: total number of tokens in the input cannot exceed 40 - "
                       "received 402"})
        self.ok("/embed", {"inputs": LONG, "truncate": True})


class Keys(ApiTest):
    """Who has no key hears it in the API's own shape."""
    MODEL = os.path.join(GOLDEN, "bert", "bert-mean", "model")

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server(model=cls.MODEL, env=harness.environment(TKR_API_KEY="sesame-open-up"))

    def test_each(self):
        for path, keys in (("/v1/embeddings", ["error", "detail"]), ("/embed", ["error", "error_type"]),
                           ("/v2/embed", ["message"]), ("/v1/multimodalembeddings", ["detail"]),
                           ("/api/embed", ["error"]), ("/embedding", ["error"])):
            reply = self.server.post(path, {})
            self.assertEqual((reply.status, list(reply.json())), (401, keys), path)
        reply = self.server.post("/v1/embeddings", {"input": "x"}, headers={"Authorization": "Bearer sesame-open-up"})
        self.assertEqual(reply.status, 200)
        reply = self.server.post("/v1/embeddings", {"input": "x"}, headers={"Authorization": "Bearer x"})
        error = reply.json()["error"]
        self.assertEqual((error["type"], error["code"]), ("invalid_request_error", "invalid_api_key"))


class Pictures(ApiTest):
    """One vector a token: where an API has a place for it, and what the others say."""
    MODEL = os.path.join(GOLDEN, "qwen2_5_vl", "colqwen2_5", "model")

    def test_several_vectors(self):
        wanted = [single(row) for row in self.ok("/embed/text", {"texts": [TEXT]})["embeddings"][0]]
        self.assertGreater(len(wanted), 1)
        reply = self.ok("/v1/embeddings", {"input": [{"text": TEXT}], "return_multivector": True})
        self.assertEqual([single(row) for row in reply["data"][0]["embeddings"]], wanted)
        reply = self.ok("/embedding", {"content": TEXT})
        self.assertEqual([single(row) for row in reply[0]["embedding"]], wanted)
        for path, body, status in (("/v1/embeddings", {"input": TEXT}, 400), ("/embed", {"inputs": TEXT}, 424),
                                   ("/v2/embed", {"texts": [TEXT]}, 422), ("/api/embed", {"input": TEXT}, 400),
                                   ("/v1/embeddings", {"input": TEXT, "input_type": None}, 400)):
            reply = self.server.post(path, body)
            self.assertEqual(reply.status, status, path)
            self.assertIn("POST /embed/text", json.dumps(reply.json()))
        metrics = self.server.get("/metrics").body.decode().splitlines()
        for line in ('te_request_failure{err="model_type"} 5', 'te_request_failure{err="tokenization"} 0',
                     'tkr_requests_total{api="tei",status="424"} 1'):
            self.assertIn(line, metrics)

    def test_pictures_of_each_api(self):
        with open(os.path.join(os.path.dirname(self.MODEL), "inputs", "small.png"), "rb") as file:
            encoded = base64.b64encode(file.read()).decode()
        uri = f"data:image/png;base64,{encoded}"
        rows = self.ok("/embed/image", {"images": [uri]})["embeddings"][0]
        for image in (uri, encoded):
            reply = self.ok("/v1/embeddings", {"input": [{"image": image}], "return_multivector": True})
            self.assertEqual(reply["data"][0]["embeddings"], rows)
        for image in ("AAAA", "data:image/png;base64,!", "ftp://x/y.png"):
            reply = self.server.post("/v1/embeddings", {"input": [{"image": image}], "return_multivector": True})
            self.assertIn(reply.status, (400, 422), (image, reply.body))
            self.assertEqual(list(reply.json()), ["detail"])


if __name__ == "__main__":
    unittest.main(verbosity=1)
