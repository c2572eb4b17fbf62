# SPDX-License-Identifier: Apache-2.0
"""Pictures on the command line: --image, items of JSON lines, several vectors an input, tables that mix texts and
pictures, and mistakes. Vectors against the goldens of the reference."""
import base64
import json
import os
import unittest

from harness import MODEL as TEXT_MODEL
from harness import CliTest, cases, distance, expected, run

GOLDEN = os.path.join(os.environ["TKR_TEST_DIR"], "golden")
SIGLIP = os.path.join(GOLDEN, "siglip", "siglip")
OPS = os.path.join(GOLDEN, "qwen2_vl", "qwen2_vl")
COLQWEN = os.path.join(GOLDEN, "qwen2_5_vl", "colqwen2_5")
LORA = os.path.join(GOLDEN, "lora", "colqwen2_5_lora")
EXACT = ["--precision", "f32", "--quantization", "none", "--device", "cpu"]


def model(folder):
    return ["-m", os.path.join(folder, "model"), *EXACT]


def picture(folder, name):
    return os.path.join(folder, "inputs", name)


class ImageTest(CliTest):
    def rows(self, *args, **options):
        return [json.loads(line) for line in self.ok("embed", *args, **options).splitlines()]

    def close(self, vector, wanted):
        self.assertLess(distance(vector, wanted), 1e-7)

    def test_pictures_and_texts_in_order(self):
        want, text = expected(SIGLIP), cases(SIGLIP)[0]["text"]
        rows = self.rows(*model(SIGLIP), text, "--image", picture(SIGLIP, "a.png"), picture(SIGLIP, "b.jpg"), "--",
                         text)
        self.assertEqual([row["index"] for row in rows], [0, 1, 2, 3])
        for row, index in zip(rows, (0, 8, 9, 0)):
            self.close(row["embedding"], want[f"{index}.embedding"])
        self.assertEqual(rows[0]["tokens"], 64)
        self.assertEqual(rows[1]["tokens"], 16)

    def items(self, folder, **more):
        """Every golden input as a JSON line; pictures relative to the folder."""
        lines = []
        for case in cases(folder):
            item = {"id": case["id"]}
            item.update({key: case[key] for key in ("text", "instruction", "images") if key in case})
            if "query" in case:
                item.update(text=case["query"], prompt=case["prefix"])
            item.update(case.get("processor", {}))
            if case.get("interpolate_pos_encoding"):
                width, height = case["resized_size"]
                item.update(interpolate_pos_encoding=True, width=width, height=height)
            lines.append(json.dumps({**item, **more}))
        path = os.path.join(self.folder, "items.jsonl")
        inputs = os.path.join(self.folder, "inputs")
        if not os.path.islink(inputs):
            os.symlink(os.path.join(folder, "inputs"), inputs)
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines))
        return path

    def test_items_of_json_lines(self):
        for folder in (SIGLIP, OPS):
            with self.subTest(folder):
                if os.path.islink(os.path.join(self.folder, "inputs")):
                    os.unlink(os.path.join(self.folder, "inputs"))
                want = expected(folder)
                rows = self.rows(*model(folder), "--jsonl", "--input", self.items(folder))
                self.assertEqual(len(rows), len(cases(folder)))
                for row in rows:
                    name = f"{row['id']}.embedding"
                    self.close(row["embedding"], want.get(name + "_by_tokenizer_json", want[name]))

    def test_the_same_picture_by_other_ways(self):
        path = picture(SIGLIP, "a.png")
        with open(path, "rb") as file:
            data = base64.b64encode(file.read()).decode()
        lines = [{"image": path}, {"images": [path]}, {"image": {"path": path}}, {"image": {"base64": data}},
                 {"image": data}, {"image": "data:image/png;base64," + data},
                 {"image": {"url": "data:;base64," + data}}, {"text": "", "image": path}]
        rows = self.rows(*model(SIGLIP), "--jsonl", stdin="\n".join(map(json.dumps, lines)))
        self.assertEqual(len(rows), len(lines))
        for row in rows:
            self.assertEqual(row["embedding"], rows[0]["embedding"])

    def test_options_for_all_pictures(self):
        want = expected(OPS)
        rows = self.rows(*model(OPS), "--min-pixels", "3136", "--max-pixels", "18816", "--image",
                         picture(OPS, "a.png"), picture(OPS, "e.png"))
        for row, index in zip(rows, (5, 6)):
            self.close(row["embedding"], want[f"{index}.embedding"])
        old = self.rows(*model(SIGLIP), "--resize-order", "pillow12", "--image", picture(SIGLIP, "d_gray.png"))
        self.close(old[0]["embedding"], expected(SIGLIP)["11.embedding_horizontal_first"])

    def check_all_vectors(self, folder, args):
        want = expected(folder)
        rows = self.rows(*args, "--multivector", "--jsonl", "--input", self.items(folder))
        for row in rows:
            flat = want[f"{row['id']}.embedding"]
            self.assertEqual(len(row["embeddings"]) * 128, len(flat))
            for i, vector in enumerate(row["embeddings"]):
                self.close(vector, flat[128 * i:128 * i + 128])

    def test_several_vectors_an_input(self):
        self.check_all_vectors(COLQWEN, model(COLQWEN))

    def test_an_adapter_on_its_base(self):
        args = ["-m", os.path.join(LORA, "adapter"), "--base", os.path.join(COLQWEN, "model"), *EXACT]
        self.check_all_vectors(LORA, args)
        self.fails(1, "embed", "-m", os.path.join(LORA, "adapter"), "--multivector", "x", says="colqwen2.5-base")

    def test_similarity(self):
        a, b = picture(SIGLIP, "a.png"), picture(SIGLIP, "b.jpg")
        want, text = expected(SIGLIP), cases(SIGLIP)[0]["text"]
        found = json.loads(self.ok("similarity", *model(SIGLIP), text, "--image", a, b, "--format", "json"))
        self.assertEqual(found["texts"], [text, a, b])
        vectors = [want["0.embedding"], want["8.embedding"], want["9.embedding"]]
        for i in range(3):
            for j in range(3):
                self.assertAlmostEqual(found["similarity"][i][j], 1 - distance(vectors[i], vectors[j]), places=5)
        self.assertIn(b"a.png", self.ok("similarity", *model(SIGLIP), text, "--image", a, b))
        ranked = json.loads(self.ok("similarity", *model(SIGLIP), "--query-image", a, "--image", b, a, "--format",
                                    "json"))
        self.assertEqual(ranked["query_image"], a)
        self.assertEqual([row["text"] for row in ranked["results"]], [a, b])

    def test_maxsim(self):
        page = picture(COLQWEN, "small.png")
        args = model(COLQWEN) + ["--max-pixels", "31360", "--min-pixels", "3136"]
        ranked = json.loads(self.ok("similarity", *args, "--query", cases(COLQWEN)[0]["query"], "--image", page,
                                    "--format", "json"))
        scores = expected(COLQWEN)["scores"]
        self.assertAlmostEqual(ranked["results"][0]["score"], scores[2], places=3)

    def test_info(self):
        info = json.loads(self.ok("info", os.path.join(SIGLIP, "model"), "--json"))
        self.assertEqual((info["modalities"], info["max_images"], info["multi_vector"]), ("text, image", 1, False))
        info = json.loads(self.ok("info", os.path.join(OPS, "model"), "--json"))
        self.assertEqual((info["modalities"], info["max_images"]), ("text, image, text+image, images", None))
        self.assertGreaterEqual(info["max_image_patches"], 4 * 5120 - 4096)
        self.assertIn("28", info["processor"])
        self.assertIn(b"Reads           text, image", self.ok("info", os.path.join(SIGLIP, "model")))

    def test_mistakes(self):
        a = picture(SIGLIP, "a.png")
        siglip = model(SIGLIP)
        self.fails(1, "embed", "-m", TEXT_MODEL, "--image", a, says="reads text only")
        self.fails(1, "embed", *siglip, "--image", os.path.join(self.folder, "none.png"), says="none.png: cannot open")
        self.fails(2, "embed", *siglip, "--image", says="--image needs a value")
        self.fails(2, "embed", *siglip, "--image", a, "--input", "x.txt", says="exclude each other")
        self.fails(1, "embed", *siglip, "--max-pixels", "1000", "--image", a, says="64 x 64")
        self.fails(2, "embed", *siglip, "--multivector", "--format", "npy", "--image", a, says="json or jsonl")
        self.fails(1, "embed", *model(COLQWEN), "x", says="--multivector")
        self.fails(1, "embed", *siglip, "--image", "http://example.org/a.png", says="--allow-url")
        self.fails(1, "embed", *siglip, "--allow-url", "example.net", "--image",
                   "http://example.org/a.png", says="isn't allowed")
        self.fails(1, "embed", *siglip, "--allow-url", "127.0.0.1,[::1]", "--image",
                   "http://127.0.0.1/a.png", says="isn't public")
        self.fails(2, "embed", *siglip, "--allow-url", "http://example.org/", "--image", a, says="host names")
        self.fails(1, "embed", *siglip, "--base", "minilm", "x", says="is no adapter")

    def test_mistakes_in_json_lines(self):
        a = picture(SIGLIP, "a.png")
        lines = [({"image": 5}, "a picture must be"), ({"images": a}, "must be a list"), ({"image": ""}, "is empty"),
                 ({"images": []}, "no \"text\", \"image\", \"images\", \"video\" or \"document\""),
                 ({"imag": a}, "did you mean \"image\""),
                 ({"image": {"file": a}}, "path, url or base64"), ({"image": {}}, "needs one of"),
                 ({"image": {"base64": "!"}}, "base64"), ({"image": a, "min_pixels": 0}, "whole number"),
                 ({"image": a, "interpolate_pos_encoding": 1}, "true or false"),
                 ({"image": a, "width": 32}, "a size was given without interpolate_pos_encoding: siglip takes"),
                 ({"text": "x", "instruct": "a", "instruction": "b"}, "mean the same"),
                 ({"text": "x", "image": a}, "not for both together"), ({"images": [a, a]}, "takes 1 of an input"),
                 ({"image": a, "text": None}, "must be a string")]
        done = run("embed", *model(SIGLIP), "--jsonl", "--on-error", "skip",
                   stdin="\n".join(json.dumps(line) for line, _ in lines) + "\n" + json.dumps({"image": a}))
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [json.loads(line) for line in done.stdout.decode().splitlines()]
        self.assertEqual(len(rows), len(lines) + 1)
        for row, (_, message) in zip(rows, lines):
            self.assertIn(message, row["error"])
        self.assertIn("embedding", rows[-1])


if __name__ == "__main__":
    unittest.main()
