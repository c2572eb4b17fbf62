# SPDX-License-Identifier: Apache-2.0
"""Official clients from PyPI, unchanged, against the real program: what they give has the bits of `tkr-embed embed`.
They live in build/client-venv, which scripts/client-env makes; without it this fails."""
import asyncio
import base64
import os
import struct
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(os.environ["TKR_SOURCE_DIR"], "build", "client-venv")
if os.path.realpath(sys.prefix) != os.path.realpath(VENV):
    subprocess.run([os.path.join(os.environ["TKR_SOURCE_DIR"], "scripts", "client-env")], check=True)
    os.execv(os.path.join(VENV, "bin", "python"), [os.path.join(VENV, "bin", "python"), *sys.argv])

for name in list(os.environ):  # the clients read these: proxies, endpoints, keys
    if name.upper().startswith(("HF_", "OPENAI_", "OLLAMA_", "CO_", "VOYAGE_")) or name.upper().endswith("_PROXY"):
        del os.environ[name]
os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", LANGSMITH_TRACING="false")
sys.path.insert(0, HERE)

import cohere  # noqa: E402
import huggingface_hub  # noqa: E402
import ollama  # noqa: E402
import openai  # noqa: E402
import voyageai  # noqa: E402
from langchain_huggingface import HuggingFaceEndpointEmbeddings  # noqa: E402
from langchain_ollama import OllamaEmbeddings  # noqa: E402
from langchain_openai import OpenAIEmbeddings  # noqa: E402
from llama_index.embeddings.openai import OpenAIEmbedding  # noqa: E402
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference  # noqa: E402

import harness  # noqa: E402

GOLDEN = os.path.join(os.environ["TKR_TEST_DIR"], "golden")
TEXTS = ["A man is eating food.", "Zwölf Boxkämpfer", "日本語のテキスト", "x", "one two three " * 9]


def bits(rows):
    """Rows of any kind of numbers as float32 bytes."""
    return [struct.pack(f"<{len(row)}f", *(float(value) for value in row)) for row in rows]


def floats(data):
    return struct.unpack(f"<{len(data) // 4}f", data)


def command_line(model, *args):
    """What `tkr-embed embed` gives: a row of bytes for each input."""
    done = subprocess.run([harness.BINARY, "embed", "-m", model, "--format", "f32", *args], capture_output=True,
                          check=False, timeout=harness.PATIENCE, env=harness.environment())
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of(data, n):
    assert n > 0 and len(data) % (4 * n) == 0, len(data)
    size = len(data) // n
    return [data[at:at + size] for at in range(0, len(data), size)]


class ClientTest(harness.ServerTest):
    def same(self, rows, *args, texts=TEXTS):
        """The rows have the bits of the command line with these arguments."""
        rows = list(rows)
        self.assertEqual(len(rows), len(texts))
        self.assertEqual(bits(rows), rows_of(command_line(self.MODEL, *args, "--", *texts), len(texts)))


class TextClients(ClientTest):
    MODEL = os.path.join(GOLDEN, "bert", "bert-cls", "model")

    # ---- openai ----

    def openai(self, kind=openai.OpenAI):
        return kind(base_url=self.server.url + "/v1", api_key="none", max_retries=0)

    def test_openai(self):
        reply = self.openai().embeddings.create(model="text-embedding-3-small", input=TEXTS)
        self.same([item.embedding for item in reply.data])
        self.assertEqual([item.index for item in reply.data], list(range(len(TEXTS))))
        self.assertEqual(reply.object, "list")
        self.assertGreater(reply.usage.total_tokens, 2 * len(TEXTS))

    def test_openai_options(self):
        one = TEXTS[:1]
        reply = self.openai().embeddings.create(model="m", input=one[0], encoding_format="float", dimensions=16)
        self.same([reply.data[0].embedding], "--dimensions", "16", texts=one)
        tokens = self.ok("/tokenize", {"inputs": one})[0]
        reply = self.openai().embeddings.create(model="m", input=[[token["id"] for token in tokens]])
        self.same([reply.data[0].embedding], texts=one)
        self.assertEqual(reply.usage.prompt_tokens, len(tokens))

    def test_openai_asynchronously(self):
        async def many():
            async with self.openai(openai.AsyncOpenAI) as client:
                return await asyncio.gather(*(client.embeddings.create(model="m", input=text) for text in TEXTS))
        self.same([reply.data[0].embedding for reply in asyncio.run(many())])

    def test_openai_errors(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.openai().embeddings.create(model="m", input=["a", ""])
        self.assertEqual((caught.exception.type, caught.exception.param, caught.exception.code),
                         ("invalid_request_error", "input[1]", None))
        with self.assertRaises(openai.NotFoundError) as caught:
            self.openai().models.retrieve("no-such-model")
        self.assertEqual(caught.exception.code, "model_not_found")

    def test_openai_models(self):
        names = [model.id for model in self.openai().models.list()]
        self.assertEqual(len(names), 1)
        self.assertEqual(self.openai().models.retrieve(names[0]).object, "model")

    # ---- huggingface_hub: Text Embeddings Inference ----

    def test_huggingface_hub(self):
        client = huggingface_hub.InferenceClient(self.server.url)
        self.same(client.feature_extraction(TEXTS))
        self.same(client.feature_extraction(TEXTS[0]), texts=TEXTS[:1])
        self.same(client.feature_extraction(TEXTS, prompt_name="query", truncate=True), "--prompt-name", "query")
        self.same(client.feature_extraction(TEXTS, normalize=False), "--no-normalize")

    def test_huggingface_hub_similarity(self):
        for url in (self.server.url, self.server.url + "/similarity"):
            scores = huggingface_hub.InferenceClient(url).sentence_similarity(
                TEXTS[0], other_sentences=[TEXTS[0], TEXTS[1]])
            self.assertAlmostEqual(scores[0], 1, places=6)
            self.assertLess(scores[1], 1)

    # ---- cohere ----

    def test_cohere(self):
        client = cohere.ClientV2(api_key="none", base_url=self.server.url)
        reply = client.embed(model="embed-v4.0", texts=TEXTS, input_type="search_query",
                             embedding_types=["float", "int8", "uint8", "binary", "ubinary", "base64"])
        self.same(reply.embeddings.float_, "--prompt-name", "query")
        self.same([floats(base64.b64decode(text)) for text in reply.embeddings.base64], "--prompt-name", "query")
        for i, row in enumerate(reply.embeddings.float_):
            packed = [sum((row[8 * b + k] > 0) << (7 - k) for k in range(8)) for b in range(len(row) // 8)]
            self.assertEqual(reply.embeddings.ubinary[i], packed)
            self.assertEqual(reply.embeddings.binary[i], [byte - 128 for byte in packed])
            self.assertEqual(reply.embeddings.int8[i], [byte - 128 for byte in reply.embeddings.uint8[i]])
        self.assertEqual(reply.texts, TEXTS)
        self.assertGreater(reply.meta.billed_units.input_tokens, 2 * len(TEXTS))
        reply = client.embed(model="m", texts=TEXTS, input_type="search_document", output_dimension=16, truncate="END")
        self.same(reply.embeddings.float_, "--dimensions", "16")

    def test_cohere_errors(self):
        client = cohere.ClientV2(api_key="none", base_url=self.server.url)
        with self.assertRaises(cohere.BadRequestError) as caught:
            client.embed(model="m", texts=["long " * 200], input_type="search_query", truncate="NONE")
        self.assertIn("too many tokens", caught.exception.body["message"])

    # ---- voyageai ----

    def test_voyageai(self):
        client = voyageai.Client(api_key="none", base_url=self.server.url + "/v1")
        reply = client.embed(TEXTS, model="voyage-3.5", input_type="query")
        self.same(reply.embeddings, "--prompt-name", "query")
        self.assertGreater(reply.total_tokens, 2 * len(TEXTS))
        self.same(client.embed(TEXTS, model="voyage-3.5", output_dimension=16).embeddings, "--dimensions", "16")
        small = client.embed(TEXTS[:1], model="voyage-3.5", input_type="document", output_dtype="int8").embeddings[0]
        row = floats(command_line(self.MODEL, "--", TEXTS[0]))
        self.assertEqual(list(small), [round(value * 127) for value in row])

    def test_voyageai_errors(self):
        client = voyageai.Client(api_key="none", base_url=self.server.url + "/v1", max_retries=0)
        with self.assertRaises(voyageai.error.InvalidRequestError) as caught:
            client.embed(["long " * 200], model="voyage-3.5", truncation=False)
        self.assertIn("tokens", str(caught.exception))

    # ---- ollama ----

    def test_ollama(self):
        client = ollama.Client(host=self.server.url)
        reply = client.embed(model="all-minilm", input=TEXTS, keep_alive="5m", options={"num_ctx": 512})
        self.same(reply.embeddings)
        self.assertEqual(reply.model, "all-minilm")
        self.assertGreater(reply.total_duration, 0)
        self.assertGreater(reply.prompt_eval_count, 2 * len(TEXTS))
        self.same([client.embeddings(model="all-minilm", prompt=text).embedding for text in TEXTS], "--no-normalize")
        self.assertEqual(len(client.embed(model="all-minilm", input=[]).embeddings), 0)
        self.assertEqual([model.details.family for model in client.list().models], ["bert"])

    def test_ollama_errors(self):
        with self.assertRaises(ollama.ResponseError) as caught:
            ollama.Client(host=self.server.url).embed(model="m", input="long " * 200, truncate=False)
        self.assertEqual((caught.exception.status_code, caught.exception.error),
                         (400, "the input length exceeds the context length"))

    # ---- langchain ----

    def test_langchain_openai(self):
        embeddings = OpenAIEmbeddings(model="text-embedding-3-small", base_url=self.server.url + "/v1", api_key="none",
                                      check_embedding_ctx_length=False)
        self.same(embeddings.embed_documents(TEXTS))
        self.same([embeddings.embed_query(TEXTS[0])], texts=TEXTS[:1])

    def test_langchain_huggingface(self):
        embeddings = HuggingFaceEndpointEmbeddings(model=self.server.url)
        self.same(embeddings.embed_documents(TEXTS))
        self.same([embeddings.embed_query(TEXTS[0])], texts=TEXTS[:1])

    def test_langchain_ollama(self):
        embeddings = OllamaEmbeddings(model="all-minilm", base_url=self.server.url)
        self.same(embeddings.embed_documents(TEXTS))
        self.same([embeddings.embed_query(TEXTS[0])], texts=TEXTS[:1])

    # ---- llama-index ----

    def test_llama_index_openai(self):
        embeddings = OpenAIEmbedding(model="text-embedding-3-small", api_base=self.server.url + "/v1", api_key="none")
        self.same(embeddings.get_text_embedding_batch(TEXTS))
        self.same([embeddings.get_query_embedding(TEXTS[0])], texts=TEXTS[:1])

    def test_llama_index_tei(self):
        embeddings = TextEmbeddingsInference(model_name="m", base_url=self.server.url)
        self.same(embeddings.get_text_embedding_batch(TEXTS))
        self.same([embeddings.get_query_embedding(TEXTS[0])], texts=TEXTS[:1])


class Keys(harness.ServerTest):
    """With a key: the clients send it, and say what is wrong without."""
    MODEL = os.path.join(GOLDEN, "bert", "bert-mean", "model")

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server(model=cls.MODEL, env=harness.environment(TKR_API_KEY="sesame-open-up"))

    def test_each(self):
        url = self.server.url
        openai.OpenAI(base_url=url + "/v1", api_key="sesame-open-up").embeddings.create(model="m", input="x")
        with self.assertRaises(openai.AuthenticationError) as caught:
            openai.OpenAI(base_url=url + "/v1", api_key="wrong").embeddings.create(model="m", input="x")
        self.assertEqual(caught.exception.code, "invalid_api_key")
        cohere.ClientV2(api_key="sesame-open-up", base_url=url).embed(model="m", texts=["x"], input_type="search_query")
        with self.assertRaises(cohere.UnauthorizedError):
            cohere.ClientV2(api_key="wrong", base_url=url).embed(model="m", texts=["x"], input_type="search_query")
        voyageai.Client(api_key="sesame-open-up", base_url=url + "/v1").embed(["x"], model="voyage-3.5")
        with self.assertRaises(voyageai.error.AuthenticationError):
            voyageai.Client(api_key="wrong", base_url=url + "/v1").embed(["x"], model="voyage-3.5")
        huggingface_hub.InferenceClient(url, token="sesame-open-up").feature_extraction("x")
        with self.assertRaises(huggingface_hub.errors.HfHubHTTPError) as caught:
            huggingface_hub.InferenceClient(url, token="wrong").feature_extraction("x")
        self.assertEqual(caught.exception.response.status_code, 401)
        with self.assertRaises(ollama.ResponseError) as caught:
            ollama.Client(host=url).embed(model="m", input="x")
        self.assertEqual(caught.exception.status_code, 401)


class PictureClients(ClientTest):
    MODEL = os.path.join(GOLDEN, "siglip", "siglip", "model")
    PICTURES = [os.path.join(GOLDEN, "siglip", "siglip", "inputs", name) for name in ("a.png", "b.jpg")]

    def uri(self, path):
        with open(path, "rb") as file:
            return f"data:image/{path[-3:]};base64,{base64.b64encode(file.read()).decode()}"

    def same_pictures(self, rows):
        expected = rows_of(command_line(self.MODEL, "--image", *self.PICTURES), len(self.PICTURES))
        self.assertEqual(bits(rows), expected)

    def test_cohere(self):
        client = cohere.ClientV2(api_key="none", base_url=self.server.url)
        reply = client.embed(model="m", input_type="image", images=[self.uri(path) for path in self.PICTURES])
        self.same_pictures(reply.embeddings.float_)
        self.assertEqual(reply.meta.billed_units.images, len(self.PICTURES))
        reply = client.embed(model="m", input_type="image", inputs=[
            {"content": [{"type": "image_url", "image_url": {"url": self.uri(path)}}]} for path in self.PICTURES])
        self.same_pictures(reply.embeddings.float_)

    def test_voyageai(self):
        client = voyageai.Client(api_key="none", base_url=self.server.url + "/v1")
        reply = client.multimodal_embed(model="voyage-multimodal-3.5", inputs=[
            {"content": [{"type": "image_base64", "image_base64": self.uri(path)}]} for path in self.PICTURES])
        self.same_pictures(reply.embeddings)
        reply = client.multimodal_embed(model="voyage-multimodal-3.5", inputs=[["a text"]])
        self.same(reply.embeddings, texts=["a text"])
        self.assertEqual(reply.total_tokens, reply.text_tokens)


if __name__ == "__main__":
    unittest.main(verbosity=1, warnings="ignore")  # some clients leave their sockets open
