# SPDX-License-Identifier: Apache-2.0
"""What the server says of itself: /openapi.json and /docs against what it does."""
import base64
import json
import unittest
import urllib.parse

import test_native
from harness import cli


class Descriptions(test_native.NativeTest):
    CONFIG_FILE = "test_openapi.yaml"

    def test_openapi(self):
        reply = self.server.get("/openapi.json")
        self.assertEqual(reply.headers["content-type"], "application/json")
        document = reply.json()
        self.assertEqual(document["openapi"], "3.1.0")
        self.assertEqual(document["info"]["version"], cli.run("--version").stdout.split()[1].decode())
        seen = set()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                self.assertIn(method, ("get", "post"))
                self.assertNotIn(operation["operationId"], seen)
                seen.add(operation["operationId"])
                self.assertTrue({"400", "401", "429", "500", "503"} <= set(operation["responses"]), path)
                self.assertEqual("requestBody" in operation, method == "post" and
                                 path not in ("/admin/reload", "/admin/cache/clear"), path)
                if "requestBody" in operation:
                    content = operation["requestBody"]["content"]["application/json"]
                    self.assertTrue(content["examples"], path)
                    self.assertTrue(content["schema"]["anyOf"], path)
        for path in ("/embed/text", "/embed/image", "/embed/multimodal", "/v1/embeddings", "/v2/embed", "/api/embed"):
            self.assertIn("post", document["paths"][path])
        for path, names in (("/embed/video", {"videos", "max_frames", "pooling", "fps", "dimensions"}),
                            ("/embed/document", {"documents", "mode", "chunk_tokens", "chunk_overlap", "dimensions"})):
            content = document["paths"][path]["post"]["requestBody"]["content"]
            schema = content["application/json"]["schema"]["anyOf"][0]
            form = content["multipart/form-data"]["schema"]
            self.assertLessEqual(names, set(schema["properties"]))
            self.assertEqual(set(form["properties"]), set(schema["properties"]) - set(schema["required"]) | {"file"})
            replies = document["paths"][path]["post"]["responses"]["200"]["content"]
            self.assertEqual(set(replies), {"application/json", "application/octet-stream", "application/x-npy"})
        parameter = document["paths"]["/info"]["get"]["parameters"][-1]
        self.assertEqual((parameter["name"], parameter["in"]), ("model", "query"))
        self.assertNotIn("required", parameter)
        self.assertEqual([at["name"] for path in document["paths"].values() for way in path.values()
                          for at in way["parameters"] if at.get("in") == "query" and at["name"] != "format"], ["model"])
        for text in json.dumps(document).split('"$ref": "')[1:]:  # every reference leads somewhere
            at = document
            for key in text.split('"')[0].removeprefix("#/").split("/"):
                at = at[urllib.parse.unquote(key)]
        names = document["paths"]["/v1/embeddings"]["post"]["requestBody"]["content"]["application/json"]["examples"]
        self.assertEqual(set(names), {"openai_embeddings", "jina_embeddings", "voyage_embeddings", "llama_embeddings"})

    def test_fields_of_the_schema_are_the_fields(self):
        document = self.server.get("/openapi.json").json()
        body = document["paths"]["/embed/text"]["post"]["requestBody"]
        schema = body["content"]["application/json"]["schema"]["anyOf"][0]
        known = {"texts": "a", "ids": [3], "input_ids": [3], "model": "bert", "normalize": True,
                 "dimensions": 8, "prompt_name": "query",
                 "prompt": "p", "instruction": None, "instruct": None, "truncate": True, "max_tokens": 9,
                 "encoding_format": "float", "output_dtype": "float", "priority": "bulk"}
        self.assertEqual(set(schema["properties"]), set(known))
        ids = known.pop("ids"), known.pop("input_ids")
        self.ok("/embed/text", known)
        del known["texts"]
        for name, value in zip(("ids", "input_ids"), ids):
            self.ok("/embed/text", {**known, name: value})

    def test_nulls_of_the_schema(self):
        document = self.server.get("/openapi.json").json()

        def schema(path):
            content = document["paths"][path]["post"]["requestBody"]["content"]
            return content["application/json"]["schema"]["anyOf"][0]
        fields = schema("/embed/text")["properties"]
        self.assertEqual((fields["normalize"]["type"], fields["normalize"]["default"]), (["boolean", "null"], True))
        self.assertEqual(fields["priority"]["enum"], ["normal", "bulk", None])
        self.assertEqual(fields["truncate"]["oneOf"][-1], {"type": "null"})
        self.ok("/embed/text", {**{name: None for name in fields}, "texts": "a"})
        self.assertNotIn({"type": "null"}, schema("/embed/image")["properties"]["images"]["oneOf"])  # required
        load = schema("/admin/models/load")["properties"]
        self.assertEqual((load["model"]["type"], load["name"]["type"]), ("string", ["string", "null"]))
        entry = schema("/embed/multimodal")["oneOf"][0]["properties"]["items"]["items"]["oneOf"][1]["properties"]
        self.assertEqual(entry["text"]["type"], ["string", "null"])
        self.ok("/embed/multimodal", {"items": [{**{name: None for name in entry}, "text": "a"}]})
        piece = entry["parts"]["items"]["oneOf"][1]["properties"]  # one member, which says something
        self.assertEqual(piece["text"]["type"], "string")

    def test_content_types_of_the_description(self):
        paths = self.server.get("/openapi.json").json()["paths"]
        for path, status in (("/", 200), ("/docs", 200), ("/metrics", 200), ("/openapi.json", 200), ("/health", 200),
                             ("/info", 200), ("/v1/models", 200), ("/ws", 426)):
            reply = self.server.get(path)
            self.assertEqual(reply.status, status, path)
            self.assertEqual(list(paths[path]["get"]["responses"][str(status)]["content"]),
                             [reply.headers["content-type"].split(";")[0]], path)

    def test_chunk_tokens_that_are_too_few(self):
        documents = ["data:text/plain;base64," + base64.b64encode(b"Some words of a text.").decode()]
        for tokens in (-1, 0, 7, 8, 10):  # [CLS], [SEP] and one more stand around: 8 are left from 11 on
            self.refused({"documents": documents, "chunk_tokens": tokens}, 400, "invalid_value",
                         f"chunk_tokens: is {tokens}, expected 11 to 64: ",
                         "3 of them", "at least 8", param="chunk_tokens", path="/embed/document")
        self.ok("/embed/document", {"documents": documents, "chunk_tokens": 11})
        self.refused({"documents": documents, "chunk_tokens": 65}, 400, "invalid_value", "is 65, expected 11 to 64",
                     param="chunk_tokens", path="/embed/document")
        self.refused({"documents": documents, "chunk_tokens": 12, "prompt_name": "query"}, 400, "invalid_value",
                     "is 12, expected 38 to 64: 30 of them", param="chunk_tokens", path="/embed/document")
        self.ok("/embed/document", {"documents": documents, "chunk_tokens": 38, "prompt_name": "query"})
        self.refused({"documents": documents, "chunk_tokens": 64, "prompt": "word " * 70}, 400, "invalid_value",
                     "passages of 64 tokens: 213 of them", param="chunk_tokens", path="/embed/document")
        self.refused({"documents": documents, "max_tokens": 5}, 400, "invalid_value", "5", param="max_tokens",
                     path="/embed/document")

    def test_examples_work(self):
        document = self.server.get("/openapi.json").json()
        for path in ("/embed/text", "/embed/multimodal", "/embed/image", "/embed/video", "/embed/document"):
            body = document["paths"][path]["post"]["requestBody"]
            example, = body["content"]["application/json"]["examples"].values()
            self.ok(path, {**example["value"], "model": "siglip"})

    def test_docs(self):
        reply = self.server.get("/docs")
        self.assertEqual(reply.headers["content-type"], "text/html; charset=utf-8")
        policy = reply.headers["content-security-policy"]
        self.assertIn("default-src 'none'", policy)
        page = reply.body.decode()
        for path in self.server.get("/openapi.json").json()["paths"]:
            self.assertIn(f"<code>{path}</code>", page)
        self.assertNotIn("<script", page)
        self.assertNotIn("style=", page)
        for name in ("texts", "output_dtype", "min_pixels"):
            self.assertIn(f"<code>{name}</code>", page)
        evil = self.server.get("/docs", headers={"Host": 'x"><b>'})
        self.assertTrue(evil.status == 400 or b'x"><b>' not in evil.body)


if __name__ == "__main__":
    unittest.main()
