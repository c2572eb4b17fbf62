# SPDX-License-Identifier: Apache-2.0
"""The peers of scripts/bench-server: infinity-emb as its own command starts it, and the server that one writes in ten
minutes with FastAPI and sentence-transformers. usage: peer_server.py STUBS infinity|fastapi MODEL_FOLDER PORT"""
import sys

sys.dont_write_bytecode = True
import cuda_stubs  # noqa: E402

stubs, kind, folder, port = sys.argv[1:]
cuda_stubs.load(stubs)

if kind == "infinity":
    from infinity_emb.cli import cli
    sys.argv = ["infinity_emb", "v2", "--model-id", folder, "--served-model-name", "peer", "--host", "127.0.0.1",
                "--port", port, "--engine", "torch", "--device", "cpu", "--dtype", "float32", "--batch-size", "64",
                "--no-bettertransformer", "--no-model-warmup", "--log-level", "error"]
    cli()
else:
    import fastapi
    import pydantic
    import sentence_transformers
    import uvicorn

    class Request(pydantic.BaseModel):
        texts: list[str]

    model, app = sentence_transformers.SentenceTransformer(folder, device="cpu"), fastapi.FastAPI()

    @app.post("/embed/text")
    def embed(request: Request):
        rows = model.encode(request.texts, batch_size=64, normalize_embeddings=True, show_progress_bar=False)
        return {"embeddings": rows.tolist()}

    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")
