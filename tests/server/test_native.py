# SPDX-License-Identifier: Apache-2.0
"""Our own routes over the real program: vectors against the command line's bits, forms of replies, every kind of bad
input with its answer."""
import base64
import json
import math
import os
import socket
import struct
import unittest
import urllib.parse

from harness import BINARY, Server, ServerTest, cli, multipart

GOLDEN = os.path.join(os.environ["TKR_TEST_DIR"], "golden")
BERT = os.path.join(GOLDEN, "bert", "bert-cls")  # has the prompt "query"; cuts at 64 tokens
SIGLIP = os.path.join(GOLDEN, "siglip", "siglip")
COLQWEN = os.path.join(GOLDEN, "qwen2_5_vl", "colqwen2_5")
PLAIN = os.path.join(GOLDEN, "modernbert", "modernbert-cls")  # has no Normalize module
FOLDERS = {"bert": BERT, "siglip": SIGLIP, "colqwen": COLQWEN, "plain": PLAIN}
EXACT = ("--precision", "f32", "--quantization", "none", "--device", "cpu")
CONFIG = "models:\n" + "".join(f"  - name: {folder}/model\n    alias: {name}\n" for name, folder in FOLDERS.items())
TEXTS = ["A dog plays in the snow.", "", "Der Hund spielt im Schnee, und die Katze schläft.", "🦊" * 3]
LONG = "word " * 300


def bits(rows):
    """Vectors as the bytes of their float32 values."""
    return [struct.pack(f"<{len(row)}f", *row) for row in rows]


def command_line(name, *args, items=None):
    """Objects of `tkr-embed embed` on one of the models."""
    stdin = "\n".join(json.dumps(item) for item in items) if items is not None else ""
    args = [*args, "--jsonl"] if items is not None else args
    done = cli.run("embed", "-m", FOLDERS[name] + "/model", *EXACT, "-q", *args, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def picture(name):
    with open(os.path.join(SIGLIP, "inputs", name), "rb") as file:
        return file.read()


def data_uri(data):
    return "data:image/png;base64," + base64.b64encode(data).decode()


class NativeTest(ServerTest):
    ARGS = (*EXACT, "--max-body", "2M", "--max-client-batch-size", "64")
    CONFIG_FILE = "test_native.yaml"

    @classmethod
    def setUpClass(cls):
        config = os.path.join(os.environ["TKR_BUILD_DIR"], cls.CONFIG_FILE)
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG)
        cls.server = Server("--config", config, *cls.ARGS, model=None)

    def text(self, name="bert", **body):
        return self.ok("/embed/text", {"model": name, **body})

    def same(self, reply, rows):
        """The vectors of a reply are the command line's, bit for bit."""
        self.assertEqual(bits(reply["embeddings"]), bits(row["embedding"] for row in rows))

    def refused(self, body, status, code, *says, param=None, path="/embed/text", **options):
        return self.fails(self.server.post(path, body, **options), status, code, *says, param=param)


class Texts(NativeTest):
    def test_bits_and_facts(self):
        reply = self.text(texts=TEXTS)
        rows = command_line("bert", items=[{"text": text} for text in TEXTS])
        self.same(reply, rows)
        self.assertEqual(reply["shape"], [4, 64])
        self.assertEqual(reply["model"], "bert")
        n_tokens = sum(row["tokens"] for row in rows)
        self.assertEqual(reply["usage"], {"prompt_tokens": n_tokens, "total_tokens": n_tokens})
        self.assertEqual(set(reply), {"embeddings", "shape", "model", "usage", "fingerprint"})

    def test_one_text(self):
        reply = self.text(texts="alone")
        self.assertEqual(reply["shape"], [1, 64])
        self.same(reply, command_line("bert", "alone"))

    def test_default_model_and_headers(self):
        reply = self.server.post("/embed/text", {"texts": ["x"]}, headers={"X-Request-Id": "mine-1"})
        self.assertEqual(reply.json()["model"], "bert")
        self.assertEqual(reply.headers["x-request-id"], "mine-1")
        self.assertEqual(reply.headers["x-tkr-fingerprint"], reply.json()["fingerprint"])
        self.assertEqual(reply.headers["x-compute-tokens"], "3")
        self.assertEqual(reply.headers["x-compute-characters"], "1")
        for name in ("x-compute-time", "x-total-time", "x-tokenization-time", "x-queue-time", "x-inference-time"):
            self.assertRegex(reply.headers[name], r"^\d+$")

    def test_token_ids(self):
        case = cli.cases(BERT)[5]
        for body in ({"ids": case["ids"]}, {"input_ids": [case["ids"]]}):
            reply = self.text(**body)
            wanted = self.text(texts=case["text"])
            self.assertEqual(bits(reply["embeddings"]), bits(wanted["embeddings"]))
            self.assertEqual(reply["usage"]["total_tokens"], len(case["ids"]))

    def test_options(self):
        for option, flags in (({"dimensions": 16}, ["--dimensions", "16"]), ({"normalize": False}, ["--no-normalize"]),
                              ({"prompt_name": "query"}, ["--prompt-name", "query"]),
                              ({"prompt": "topic: "}, ["--prompt", "topic: "]),
                              ({"max_tokens": 5}, ["--max-tokens", "5"]),
                              ({"truncate": "left", "max_tokens": 7}, ["--truncate", "left", "--max-tokens", "7"])):
            with self.subTest(option):
                reply = self.text(texts=[TEXTS[0], TEXTS[2]], **option)
                self.same(reply, command_line("bert", *flags, TEXTS[0], TEXTS[2]))
        self.assertEqual(self.text(texts="x", dimensions=16)["shape"], [1, 16])

    def test_length_1_of_a_checkpoint_that_does_not_normalise(self):
        raw = self.text("plain", texts=TEXTS[:1], normalize=False)
        self.same(raw, command_line("plain", TEXTS[0]))
        self.assertGreater(math.hypot(*raw["embeddings"][0]), 1.5)
        for options in ({}, {"dimensions": 8}, {"normalize": True}, {"normalize": None}):
            with self.subTest(options):
                row, = self.text("plain", texts=TEXTS[0], **options)["embeddings"]
                self.assertAlmostEqual(math.hypot(*row), 1, places=6)
                small, = self.text("plain", texts=TEXTS[0], output_dtype="int8", **options)["embeddings"]
                self.assertEqual(small, [round(value * 127) for value in row])
        row, = self.ok("/embed/multimodal", {"model": "plain", "items": [TEXTS[0]]})["embeddings"]
        self.assertEqual(bits([row]), bits(self.text("plain", texts=TEXTS[0])["embeddings"]))

    def test_nulls_are_absent_fields(self):
        wanted = self.text(texts=["a"])
        reply = self.text(texts=["a"], normalize=None, dimensions=None, prompt=None, prompt_name=None, instruction=None,
                          truncate=None, encoding_format=None, output_dtype=None)
        self.assertEqual(reply["embeddings"], wanted["embeddings"])
        self.assertEqual(self.ok("/embed/text", {"model": None, "texts": ["a"]})["model"], "bert")

    def test_truncation_is_reported(self):
        reply = self.text(texts=["short", LONG, LONG])
        self.assertEqual(reply["usage"]["truncated"], [1, 2])
        self.same(reply, command_line("bert", "short", LONG, LONG))
        for off in (False, "error"):
            error = self.refused({"texts": ["short", LONG], "truncate": off}, 422, "too_many_tokens", param="texts[1]")
            self.assertIn("64", error["message"])
        self.assertEqual(self.text(texts=[LONG], truncate=True)["usage"]["truncated"], [0])

    def test_priority(self):
        reply = self.text(texts=["a"], priority="bulk")
        self.assertEqual(reply["embeddings"], self.text(texts=["a"], priority="normal")["embeddings"])

    def test_same_bits_beside_others(self):
        alone = [self.text(texts=[text])["embeddings"][0] for text in TEXTS]
        self.assertEqual(self.text(texts=TEXTS)["embeddings"], alone)


class Forms(NativeTest):
    """What a reply can look like."""

    def setUp(self):
        self.rows = bits(self.text(texts=TEXTS)["embeddings"])

    def raw(self, path="/embed/text", accept=None, **body):
        reply = self.server.post(path, {"model": "bert", "texts": TEXTS, **body}, headers={"Accept": accept})
        self.assertEqual(reply.status, 200, reply.body[:500])
        return reply

    def test_base64(self):
        reply = self.text(texts=TEXTS, encoding_format="base64")
        self.assertEqual([base64.b64decode(row) for row in reply["embeddings"]], self.rows)
        self.assertEqual(reply["shape"], [4, 64])

    def test_small_types(self):
        values = [struct.unpack("<64f", row) for row in self.rows]
        # Python rounds halves to even, too
        byte = [[max(-127, min(127, round(v * 127))) for v in row] for row in values]
        ones = [[v > 0 for v in row] for row in values]
        packed = [[sum(bit << 7 - k for k, bit in enumerate(row[i:i + 8])) for i in range(0, 64, 8)] for row in ones]
        half = [struct.unpack("<64e", struct.pack("<64e", *row)) for row in values]
        for dtype, wanted, code in (("int8", byte, "b"), ("uint8", [[v + 128 for v in row] for row in byte], "B"),
                                    ("ubinary", packed, "B"),
                                    ("binary", [[v - 128 for v in row] for row in packed], "b"),
                                    ("float16", [list(row) for row in half], "e")):
            with self.subTest(dtype):
                n = len(wanted[0])
                reply = self.text(texts=TEXTS, output_dtype=dtype)
                if dtype == "float16":  # the shortest text that reads back as the same float32
                    self.assertEqual(bits(reply["embeddings"]), bits(wanted))
                else:
                    self.assertEqual(reply["embeddings"], wanted)
                self.assertEqual((reply["shape"], reply["dtype"]), ([4, n], dtype))
                reply = self.text(texts=TEXTS, output_dtype=dtype, encoding_format="base64")
                decoded = [struct.unpack(f"<{n}{code}", base64.b64decode(row)) for row in reply["embeddings"]]
                self.assertEqual([list(row) for row in decoded], wanted)
                raw = self.raw(accept="application/octet-stream", output_dtype=dtype)
                self.assertEqual(raw.headers["x-dtype"], dtype)
                self.assertEqual(raw.headers["x-shape"], f"4,{n}")
                self.assertEqual(raw.body, b"".join(struct.pack(f"<{n}{code}", *row) for row in wanted))

    def test_raw(self):
        for reply in (self.raw(accept="application/octet-stream"), self.raw("/embed/text?format=bytes"),
                      self.raw("/embed/text?format=bytes", accept="application/x-npy")):
            self.assertEqual(reply.body, b"".join(self.rows))
            self.assertEqual(reply.headers["content-type"], "application/octet-stream")
            self.assertEqual((reply.headers["x-shape"], reply.headers["x-dtype"]), ("4,64", "float32"))
            self.assertEqual(reply.headers["x-model"], "bert")
        self.assertEqual(self.raw(accept="application/octet-stream", texts=["a", LONG]).headers["x-truncated"], "1")

    def test_npy(self):
        for reply in (self.raw(accept="text/html;q=0.1, application/x-npy"), self.raw("/embed/text?format=npy")):
            self.assertEqual(reply.headers["content-type"], "application/x-npy")
            self.assertEqual(bits(cli.read_npy(reply.body)), self.rows)

    def test_json_when_nothing_else_is_asked(self):
        for accept in ("*/*", "application/json", "application/x-npy;q=0", "text/html"):
            self.assertEqual(self.raw(accept=accept).headers["content-type"], "application/json")

    def test_the_heavier_form_wins(self):
        json_type, raw, npy = "application/json", "application/octet-stream", "application/x-npy"
        for accept, given in ((f"{json_type}, {raw};q=0.1", json_type), (f"{json_type};q=0.1, {raw}", raw),
                              (f"{json_type}, {raw}", raw), (f"{npy};q=0.5, {raw};q=0.9", raw),
                              (f"{raw}, {npy}", npy), (f"*/*, {raw}; q=0.9", json_type),
                              (f"{raw}, */*;q=0.8", raw)):
            self.assertEqual(self.raw(accept=accept).headers["content-type"], given, accept)

    def test_unknown_form(self):
        self.refused({"texts": ["a"]}, 400, "invalid_value", '"xml"', param="format", path="/embed/text?format=xml")

    def test_several_vectors_an_input(self):
        texts = ["What is shown?", "Which year has the largest value?"]
        reply = self.text("colqwen", texts=texts)
        rows = command_line("colqwen", "--multivector", *texts)
        self.assertEqual([bits(rows) for rows in reply["embeddings"]], [bits(row["embeddings"]) for row in rows])
        self.assertEqual(reply["shape"], [2, None, 128])
        self.assertEqual(reply["rows"], [len(row["embeddings"]) for row in rows])
        raw = self.raw(model="colqwen", texts=texts, accept="application/octet-stream")
        self.assertEqual(raw.headers["x-rows"], ",".join(str(n) for n in reply["rows"]))
        self.assertEqual(raw.headers["x-shape"], f"{sum(reply['rows'])},128")
        self.assertEqual(raw.body, b"".join(row for rows in reply["embeddings"] for row in bits(rows)))


class Pictures(NativeTest):
    NAMES = ("a.png", "b.jpg", "e_palette.png")

    def files(self, *names, **fields):
        body, kind = multipart([("model", "siglip"), *fields.items(),
                                *[("file", (name, picture(name), "application/octet-stream")) for name in names]])
        return self.server.post("/embed/image", body, headers={"Content-Type": kind})

    def wanted(self, names=NAMES):
        return command_line("siglip", *[word for name in names
                                        for word in ("--image", os.path.join(SIGLIP, "inputs", name))])

    def test_files(self):
        reply = self.files(*self.NAMES)
        self.assertEqual(reply.status, 200, reply.body[:500])
        self.same(reply.json(), self.wanted())
        self.assertEqual(reply.json()["shape"][0], 3)

    def test_wrong_values_in_the_form(self):
        """All of a form is text: what it says is told, not that."""
        for name, value, says in (("normalize", "False", 'normalize: is "False", expected true or false'),
                                  ("dimensions", "two", 'dimensions: is "two", expected a whole number'),
                                  ("dimensions", "", 'dimensions: is "", expected a whole number'),
                                  ("truncate", "True", 'is "True"')):
            with self.subTest(name=name, value=value):
                reply = self.files("a.png", **{name: value})
                self.assertEqual(reply.status, 400)
                self.assertEqual(reply.json()["error"]["param"], name)
                self.assertIn(says, reply.json()["error"]["message"])

    def test_a_size_needs_its_option(self):
        self.fails(self.files("a.png", width="32", height="32"), 400, "invalid_value",
                   "a size was given without interpolate_pos_encoding: siglip takes")
        self.assertEqual(self.files("a.png", width="32", height="32", interpolate_pos_encoding="true").status, 200)

    def test_options_in_the_form(self):
        reply = self.files("a.png", dimensions="8", normalize="true", encoding_format="base64").json()
        self.assertEqual(reply["shape"], [1, 8])
        self.assertEqual(len(base64.b64decode(reply["embeddings"][0])), 32)

    def test_json(self):
        wanted = bits(row["embedding"] for row in self.wanted())
        datas = [picture(name) for name in self.NAMES]
        for images in ([data_uri(data) for data in datas], [base64.b64encode(data).decode() for data in datas],
                       [{"base64": base64.b64encode(data).decode()} for data in datas],
                       [{"url": data_uri(data)} for data in datas]):
            reply = self.ok("/embed/image", {"model": "siglip", "images": images})
            self.assertEqual(bits(reply["embeddings"]), wanted)
        for uri in (data_uri(datas[0]), "DATA:IMAGE/PNG;BASE64," + data_uri(datas[0]).split(",")[1]):
            reply = self.ok("/embed/image", {"model": "siglip", "images": uri})
            self.assertEqual(bits(reply["embeddings"]), wanted[:1])

    def test_items(self):
        text, data = cli.cases(SIGLIP)[0]["text"], picture("a.png")
        reply = self.ok("/embed/multimodal", {"model": "siglip", "items": [{"text": text},
                                                                           {"image": data_uri(data)}, text,
                                                                           {"images": [data_uri(data)], "id": 7},
                                                                           {"image_url": {"url": data_uri(data)}},
                                                                           {"parts": [{"image": data_uri(data)}]}]})
        word, image = bits(row["embedding"] for row in
                           command_line("siglip", text, "--image", os.path.join(SIGLIP, "inputs", "a.png")))
        self.assertEqual(bits(reply["embeddings"]), [word, image, word, image, image, image])

    def test_one_item(self):
        data = picture("a.png")
        reply = self.ok("/embed/multimodal", {"model": "siglip", "image": data_uri(data), "dimensions": 8})
        self.assertEqual(reply["shape"], [1, 8])
        self.assertEqual(self.ok("/embed/multimodal", {"text": "x"})["embeddings"],
                         self.text(texts=["x"])["embeddings"])

    def test_items_with_settings(self):
        image = data_uri(picture("b.jpg"))
        with open(os.path.join(self.server.folder.name, "b.jpg"), "wb") as file:
            file.write(picture("b.jpg"))
        path = file.name
        for more in ({"max_pixels": 40000}, {"min_pixels": 3136, "max_pixels": 12544}):
            reply = self.ok("/embed/multimodal", {"model": "colqwen", "items": [{"image": image, **more}]})
            rows = command_line("colqwen", "--multivector", items=[{"image": path, **more}])
            self.assertEqual(bits(reply["embeddings"][0]), bits(rows[0]["embeddings"]))

    def test_files_of_an_item(self):
        body, kind = multipart([("model", "siglip"), ("file", ("a.png", picture("a.png"), "image/png"))])
        reply = self.server.post("/embed/multimodal", body, headers={"Content-Type": kind})
        self.assertEqual(reply.status, 200, reply.body)
        self.same(reply.json(), self.wanted(["a.png"]))

    def test_combination_that_the_model_cant_fuse(self):
        item = {"text": "x", "image": data_uri(picture("a.png"))}
        error = self.refused({"model": "siglip", "items": [{"text": "x"}, item]}, 422, "unsupported", param="items[1]",
                             path="/embed/multimodal")
        self.assertIn("text, image", error["message"])

    def test_picture_to_a_text_model(self):
        self.refused({"model": "bert", "images": [data_uri(picture("a.png"))]}, 422, "unsupported", "text",
                     param="images[0]", path="/embed/image")

    def test_bad_pictures(self):
        def refuse(images, status, code, *says, param="images[0]"):
            self.refused({"model": "siglip", "images": images}, status, code, *says, param=param, path="/embed/image")

        refuse(["data:image/png;base64,ab*d"], 422, "bad_media", "byte 2 is 0x2a")
        refuse(["data:image/png,abcd"], 422, "bad_media", "isn't base64")
        refuse(["data:image/png;base64,"], 422, "bad_media", "empty")
        refuse([data_uri(b"neither a picture nor a joke")], 422, "bad_media", "is text, not a JPEG")
        self.refused({"model": "siglip", "images": data_uri(b"neither")}, 422, "bad_media", param="images",
                     path="/embed/image")
        refuse([data_uri(picture("a.png")), data_uri(picture("a.png")[:60])], 422, "bad_media", param="images[1]")
        refuse(["photo.jpg"], 400, "invalid_value", "photo.jpg")
        refuse(["/etc/passwd"], 422, "bad_media")
        refuse(["file:///etc/passwd"], 400, "invalid_value", "file:///")
        refuse([{"path": "/etc/passwd"}], 400, "invalid_value", "reads no files", param="images[0].path")
        refuse([{"url": "x", "base64": "x"}], 400, "invalid_value", "one of url and base64")
        refuse([{"link": "x"}], 400, "invalid_value", param="images[0].link")
        refuse([5], 400, "wrong_type", "an integer")
        refuse([""], 400, "empty")
        refuse([], 400, "empty", param="images")
        refuse({"a": 1}, 400, "invalid_value", param="images.a")
        for host in ("example.org", "127.0.0.1", "[::ffff:10.0.0.1]", "169.254.169.254"):
            refuse([f"http://{host}/a.png"], 422, "bad_media")

    def test_bad_files(self):
        self.fails(self.files(), 400, "wrong_type", "no file", param="file")
        body, kind = multipart([("model", "siglip"), ("image", ("a.png", picture("a.png"), "image/png"))])
        self.fails(self.server.post("/embed/image", body, headers={"Content-Type": kind}), 400, "invalid_value",
                   'files are sent as "file"', param="image")
        body, kind = multipart([("model", "siglip"), ("file", ("a.png", b"", "image/png"))])
        self.fails(self.server.post("/embed/image", body, headers={"Content-Type": kind}), 422, "bad_media",
                   "a.png is empty")
        body, kind = multipart([("model", "siglip"), ("normalize", "true"), ("normalize", "true")])
        self.fails(self.server.post("/embed/image", body, headers={"Content-Type": kind}), 400, "malformed", "twice")
        self.fails(self.files("a.png", normalize="yes"), 400, "wrong_type", "true or false", param="normalize")
        self.fails(self.files("a.png", dimensions="many"), 400, "wrong_type", param="dimensions")
        self.fails(self.files("a.png", dimension="3"), 400, "invalid_value", 'did you mean "dimensions"?')
        self.fails(self.files("a.png", images="x"), 400, "invalid_value", "stand beside files", param="images")

    def test_bad_forms(self):
        def refuse(body, kind, *says, status=400, code="malformed"):
            self.fails(self.server.post("/embed/image", body, headers={"Content-Type": kind}), status, code, *says)

        refuse(b"x", "multipart/form-data", "without a boundary")
        refuse(b"x", "multipart/form-data; boundary=y", "does not begin")
        refuse(b"--y\r\n\r\nx\r\n--y--", "multipart/form-data; boundary=y", "Content-Disposition")
        refuse(b'--y\r\nContent-Disposition: form-data; name="file"\r\n\r\nx', "multipart/form-data; boundary=y",
               "boundary that ends it is missing")
        refuse(b"", "multipart/form-data; boundary=y", "does not begin")
        refuse(b'--y\r\nContent-Disposition: form-data; name="model"\r\n\r\n\xff\r\n--y--',
               "multipart/form-data; boundary=y", "not valid UTF-8")
        many = b"--y\r\n" + b'Content-Disposition: form-data; name="file"\r\n\r\nx\r\n--y\r\n' * 1025
        refuse(many + b"--y--", "multipart/form-data; boundary=y", "1024 parts", status=422, code="too_many_inputs")
        kind = {"Content-Type": "multipart/form-data; boundary=y"}
        self.fails(self.server.post("/embed/text", b"--y--", headers=kind), 415, "unsupported_media_type",
                   "application/json")


class BadInput(NativeTest):
    def test_wrong_types(self):
        for body, param, says in (({"texts": 5}, "texts", "is an integer, expected a string or a list of strings"),
                                  ({"texts": {"a": 1}}, "texts", "is an object"),
                                  ({"texts": True}, "texts", "is true"),
                                  ({"texts": ["a", 5]}, "texts[1]", "is an integer, expected a string"),
                                  ({"texts": ["a", None]}, "texts[1]", "is null"),
                                  ({"texts": ["a", ["b"]]}, "texts[1]", "is an array"),
                                  ({"ids": "a"}, "ids", "list of token ids"),
                                  ({"ids": [1, "a"]}, "ids", "ids[1]: is a string"),
                                  ({"ids": [1.5]}, "ids", "expected a token id"),
                                  ({"texts": "a", "normalize": "yes"}, "normalize",
                                   "is a string, expected true or false"),
                                  ({"texts": "a", "normalize": 1}, "normalize", "is an integer"),
                                  ({"texts": "a", "dimensions": "8"}, "dimensions", "expected a whole number"),
                                  ({"texts": "a", "dimensions": 8.5}, "dimensions", "is 8.5"),
                                  ({"texts": "a", "prompt": 3}, "prompt", "expected a string"),
                                  ({"texts": "a", "truncate": 3}, "truncate", "is an integer"),
                                  ({"texts": "a", "model": 3}, "model", "expected a string"),
                                  ({"texts": "a", "output_dtype": 8}, "output_dtype", "expected a string"),
                                  ([], "", "is an array, expected an object"), ("text", "", "is a string"),
                                  (5, "", "is an integer"), (None, "", "is null")):
            with self.subTest(body):
                error = self.refused(json.dumps(body), 400, "wrong_type", says)
                self.assertEqual(error.get("param", ""), param)

    def test_wrong_values(self):
        for body, param, says in (({"texts": "a", "dimensions": 0}, "dimensions", "is 0, expected 1 to 64"),
                                  ({"texts": "a", "dimensions": -1}, "dimensions", "is -1"),
                                  ({"texts": "a", "dimensions": 65}, "dimensions", "is 65, expected 1 to 64"),
                                  ({"texts": "a", "dimensions": 1e300}, "dimensions", "is 1e+300"),
                                  ({"texts": "a", "max_tokens": 65}, "max_tokens", "expected 1 to 64"),
                                  ({"texts": "a", "truncate": "middle"}, "truncate",
                                   'is "middle", expected "right", "left" or "error"'),
                                  ({"texts": "a", "encoding_format": "hex"}, "encoding_format",
                                   'expected "float" or "base64"'),
                                  ({"texts": "a", "output_dtype": "int4"}, "output_dtype", '"ubinary"'),
                                  ({"texts": "a", "prompt_name": "nope"}, "prompt_name", '"query"'),
                                  ({"texts": "a", "instruct": "x", "instruction": "y"}, "instruct", "give one"),
                                  ({"texts": "a", "priority": "high"}, "priority", '"normal" or "bulk"'),
                                  ({"texts": "a", "prompt": "a\0b"}, "prompt", "U+0000"),
                                  ({"texts": "a", "ids": [3]}, "ids", "give one of"),
                                  ({"ids": [3, 100000]}, "ids", "token id 100000 is not in the vocabulary"),
                                  ({"ids": [[3], [-1]]}, "ids[1]", "token id -1"),
                                  ({"texts": "a", "normalise": True}, "normalise", 'did you mean "normalize"?'),
                                  ({"text": "a"}, "text", 'did you mean "texts"?'),
                                  ({"texts": "a", "user": "x"}, "user", "there is no such field")):
            with self.subTest(body):
                self.refused(body, 400, "invalid_value", says, param=param)

    def test_missing_and_empty(self):
        self.refused({}, 400, "wrong_type", "is missing", param="texts")
        self.refused({"texts": None}, 400, "wrong_type", "is missing", param="texts")
        self.refused({"texts": []}, 400, "empty", param="texts")
        self.refused({"ids": []}, 400, "empty", param="ids")
        self.refused({"input_ids": [[3], []]}, 400, "empty", "input_ids[1]", param="input_ids[1]")
        self.refused({}, 400, "wrong_type", param="images", path="/embed/image")
        self.refused({}, 400, "empty", "text, an image", param="text", path="/embed/multimodal")
        self.refused({"items": []}, 400, "empty", param="items", path="/embed/multimodal")
        self.refused({"items": [{}]}, 400, "empty", param="items[0].text", path="/embed/multimodal")

    def test_items(self):
        for items, code, param in (({"text": "a"}, "wrong_type", "items"), (["a", 5], "wrong_type", "items[1]"),
                                   ([{"text": 5}], "wrong_type", "items[0].text"),
                                   ([{"txt": "a"}], "invalid_value", "items[0].txt"),
                                   ([{"text": "a", "parts": ["b"]}], "invalid_value", "items[0].parts"),
                                   ([{"parts": [{"text": "a", "image": "b"}]}], "invalid_value",
                                    "items[0].parts[0].text"),
                                   ([{"parts": [5]}], "wrong_type", "items[0].parts[0]"),
                                   ([{"text": "a", "min_pixels": 0}], "invalid_value", "items[0].min_pixels"),
                                   ([{"text": "a", "interpolate_pos_encoding": 1}], "wrong_type",
                                    "items[0].interpolate_pos_encoding"),
                                   ([{"images": "a"}], "wrong_type", "items[0].images"),
                                   ([{"text": "a", "prompt_name": "nope"}], "invalid_value", "items[0].prompt_name"),
                                   ([{"media": 0}], "invalid_value", "items[0].media")):
            with self.subTest(items):
                self.refused({"items": items}, 400, code, param=param, path="/embed/multimodal")
        self.refused({"items": ["a"], "text": "b"}, 400, "invalid_value", param="text", path="/embed/multimodal")

    def test_too_many(self):
        self.refused({"texts": ["a"] * 65}, 422, "too_many_inputs", "65 inputs", "at most 64")
        self.assertEqual(self.text(texts=["a"] * 64)["shape"], [64, 64])

    def test_no_json(self):
        for body, says in ((b"", "empty"), (b"{", "byte 1"), (b'{"texts": ["a"]', "byte"),
                           (b"{'texts': 'a'}", "byte 1"),
                           (b'{"texts": "a",}', "byte"), (b'{"texts": "a"} x', "byte"), (b'{"texts": NaN}', "byte"),
                           (b'{"texts": "a", "dimensions": Infinity}', "byte"),
                           (b'{"texts": "a", "dimensions": 1e400}', "too large"),
                           (b'{"texts": "\xff"}', "UTF-8"), (b'{"texts": "\xed\xa0\x80"}', "UTF-8"),
                           (b'{"texts": "\\ud800"}', "surrogate"), (b'{"texts": "a", "texts": "b"}', "twice"),
                           (b'{"a\\u0000": 1}', "U+0000"), (b"\xef\xbb\xbf{}", "byte 0"),
                           (b"[" * 100000, "deep"), (b'{"a":' * 1000 + b"1" + b"}" * 1000, "deep"),
                           (b'{"texts": "a\nb"}', "byte")):
            with self.subTest(body[:40]):
                self.refused(body, 400, "malformed", says)

    def test_zero_in_a_text_is_a_character(self):
        self.assertEqual(self.text(texts=["a\0b"])["shape"], [1, 64])

    def test_content_types(self):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", "", "json"):
            with self.subTest(kind):
                self.refused('{"texts": "a"}', 415, "unsupported_media_type", "application/json",
                             headers={"Content-Type": kind})
        self.refused('{"texts": "a"}', 415, "unsupported_media_type", "missing", headers={"Content-Type": None})
        for kind in ("application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json"):
            reply = self.server.post("/embed/text", '{"texts": "a"}', headers={"Content-Type": kind})
            self.assertEqual(reply.status, 200)

    def test_unknown_routes_and_methods(self):
        self.fails(self.server.get("/nope"), 404, "not_found", "/nope")
        self.fails(self.server.post("/embed/text/", {}), 404, "not_found")
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            reply = self.server.request(method, "/embed/text")
            self.fails(reply, 405, "method_not_allowed", "POST", method)
            self.assertEqual(reply.headers["allow"], "POST")
        self.assertEqual(self.server.request("POST", "/openapi.json").headers["allow"], "GET, HEAD")
        self.assertIn("error_type", self.server.request("PUT", "/").json())  # TEI's, beside the page

    def test_unknown_model(self):
        error = self.refused({"model": "other", "texts": "a"}, 404, "model_not_found", param="model")
        for name in FOLDERS:
            self.assertIn(name, error["message"])
        reply = self.server.get("/info?model=other")
        self.fails(reply, 404, "model_not_found", param="model")
        self.assertEqual(reply.json()["error"]["message"], error["message"])
        self.fails(self.server.get("/info?model=%ff"), 400, "invalid_value", "percent-encoded", param="model")

    def test_info_of_each_model(self):
        first = self.server.get("/info").json()
        self.assertEqual(first["model"], "bert")
        for query in ("model=", "model=bert", "other=1&model=bert", "mode=siglip",
                      "model=" + urllib.parse.quote(BERT + "/model", safe="")):
            self.assertEqual(self.server.get("/info?" + query).json(), first, query)
        infos = {name: self.server.get("/info?model=" + name).json() for name in FOLDERS}
        for name, info in infos.items():
            self.assertEqual((info["model"], info["served_model_name"]), (name, name))
            self.assertEqual(info["model_id"], FOLDERS[name] + "/model")
            self.assertEqual(set(info), set(first))
            inputs = {"items": [{"image": data_uri(picture("a.png"))}]} if name == "colqwen" else {"items": ["a"]}
            reply = self.ok("/embed/multimodal", {"model": name, **inputs})
            self.assertEqual((reply["shape"][-1], reply["fingerprint"]), (info["embedding_dim"], info["fingerprint"]))
        self.assertEqual(set(infos["bert"]["prompts"]), {"query"})
        self.assertIn("image", infos["siglip"]["supported_modalities"])
        self.assertEqual(infos["plain"]["supported_modalities"], ["text"])
        self.assertTrue(infos["colqwen"]["multi_vector"])

    def test_large_bodies(self):
        reply = self.server.post("/embed/text", b'{"texts":"' + b"a" * (3 << 20) + b'"}')
        self.fails(reply, 413, "too_large", "at most 2097152 bytes")
        self.fails(self.server.request("GET", "/health", b"{}"), 413, "too_large", "takes no body")
        with self.server.socket() as wire:  # 1 GB is refused by its length, before it comes
            wire.sendall(b"POST /embed/text HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                         b"Content-Length: 1000000000\r\n\r\n")
            self.assertTrue(wire.recv(4096).startswith(b"HTTP/1.1 413 "))

    def test_gone_before_the_body(self):
        for _ in range(20):
            with self.server.socket() as wire:
                wire.sendall(b"POST /embed/text HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                             b"Content-Length: 30\r\n\r\n{")
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.text(texts="still there")

    def test_control_characters_of_a_request_stay_out_of_messages(self):
        error = self.refused({"texts": "a", "no\nsuch\u001b[31m": 1}, 400, "invalid_value")
        self.assertNotIn("\x1b", error["message"])


class InfoOfOthers(ServerTest):
    @classmethod
    def setUpClass(cls):
        config = os.path.join(os.environ["TKR_BUILD_DIR"], "test_native_lazy.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"model: {{name: demo}}\nmodels:\n  - {{name: {BERT}/model, alias: late, lazy: true}}\n"
                       f"  - {{name: {BERT}/nowhere, alias: never, lazy: true}}\n")
        cls.server = Server("--config", config, model=None)

    def test_as_a_request_for_vectors(self):
        """A model that isn't loaded is; one that can't be says why."""
        self.assertEqual(self.server.get("/info?model=late").json()["prompts"].keys(), {"query"})
        self.fails(self.server.get("/info?model=never"), 503, "unavailable", "no such folder", param="model")
        self.assertEqual(self.server.get("/info").json()["model"], "demo")


if __name__ == "__main__":
    assert BINARY
    unittest.main()
