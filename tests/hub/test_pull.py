# SPDX-License-Identifier: Apache-2.0
"""The download against a hub that misbehaves (fake_hub.py). Standard library only; runs in seconds."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

from fake_hub import (COMMIT, MIB, Hub, body, cut, ignore_range, redirect, send_file, sha256, stall, status)

DRIVER = os.path.join(os.environ["TKR_BUILD_DIR"], "tests", "test_hub_pull_driver")
CANCELLED, DENIED, NETWORK, LIMIT, UNSUPPORTED, FORMAT, IO, NOT_FOUND = 10, 9, 8, 7, 5, 4, 3, 2


class Pull(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="tkr-pull-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.cache = os.path.join(self.folder, "hub")
        self.hubs = []
        self.hub = self.make_hub()

    def make_hub(self, *args, **kwargs):
        hub = Hub(*args, **kwargs)
        self.addCleanup(hub.close)
        return hub

    def command(self, *arguments, verb="pull", reference="org/name", cache=None):
        return [DRIVER, verb, reference, "cache=" + (cache or self.cache), "endpoint=" + self.hub.url] + list(arguments)

    def environment(self):
        keep = {key: value for key, value in os.environ.items() if key in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS",
                                                                          "TSAN_OPTIONS", "LD_LIBRARY_PATH")}
        return dict(keep, HOME=self.folder, no_proxy="*")

    def run_driver(self, *arguments, **kwargs):
        done = subprocess.run(self.command(*arguments, **kwargs), env=self.environment(), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60)
        self.assertIn(done.returncode, (0, 1), done.stderr.decode())
        self.stderr = done.stderr.decode()
        return done.stdout.decode().strip()

    def assert_ok(self, *arguments, **kwargs):
        line = self.run_driver(*arguments, **kwargs)
        self.assertEqual(line, "ok " + self.path("snapshots", COMMIT), self.stderr)
        return line

    def assert_error(self, code, *parts, arguments=(), **kwargs):
        line = self.run_driver(*arguments, **kwargs)
        self.assertTrue(line.startswith("error %d " % code), line + self.stderr)
        self.assertEqual(line.count("\n"), 0)
        for part in parts:
            self.assertIn(part, line)
        return line

    def path(self, *parts):
        return os.path.join(self.cache, "models--org--name", *parts)

    def assert_files(self, names=("config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json",
                                  "empty_config.json", "model.safetensors")):
        found = []
        top = self.path("snapshots", COMMIT)
        for folder, _, files in os.walk(top):
            found += [os.path.relpath(os.path.join(folder, name), top) for name in files]
        self.assertEqual(sorted(found), sorted(names))
        for name in names:
            link = os.path.join(top, name)
            self.assertEqual(os.readlink(link), "../" * (2 + name.count("/")) + "blobs/" + self.hub.blob(name))
            with open(link, "rb") as file:
                self.assertEqual(file.read(), self.hub.files[name])
        self.assertEqual([name for name in os.listdir(self.path("blobs")) if name.endswith(".incomplete")], [])

    def assert_no_ref(self):
        self.assertFalse(os.path.exists(self.path("refs", "main")))

    # -- all is well --

    def test_plain(self):
        self.assert_ok()
        self.assert_files()
        with open(self.path("refs", "main")) as file:
            self.assertEqual(file.read(), COMMIT)
        self.assertEqual(self.hub.requests("modeling_custom.py") + self.hub.requests("README.md"), [])
        self.assertEqual(self.hub.requests("api")[0].get("Authorization"), None)
        self.hub.log.clear()
        self.assert_ok()  # all there: verified, nothing fetched
        self.assertEqual([name for name, _ in self.hub.log], ["api"])
        self.hub.log.clear()
        self.assert_ok("offline", verb="resolve")
        self.assert_ok(verb="resolve")
        self.assertEqual(self.hub.log, [])
        listed = self.run_driver(verb="list").split("\n")
        self.assertEqual(listed[0].split()[:3], ["org/name", "main", "complete"])
        self.assertEqual(self.run_driver(verb="sha256", reference=self.path("snapshots", COMMIT, "model.safetensors")),
                         "ok " + self.hub.blob("model.safetensors"))

    def test_resolve_pulls_what_is_missing(self):
        self.assert_ok("tokenizer_only", verb="resolve")
        self.assert_files(("config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json",
                           "empty_config.json"))
        self.hub.log.clear()
        self.assert_ok("tokenizer_only", verb="resolve")
        self.assertEqual(self.hub.log, [])
        self.assert_error(NOT_FOUND, "model.safetensors is not in the cache", verb="resolve", arguments=("offline",))
        self.assert_ok(verb="resolve")
        self.assert_files()

    def test_python_cache_is_reused(self):
        """What huggingface_hub wrote (ref, blob, relative link) is taken as it is."""
        data = self.hub.files["model.safetensors"]
        os.makedirs(self.path("blobs"))
        with open(self.path("blobs", sha256(data)), "wb") as file:
            file.write(data)
        self.assert_ok()
        self.assert_files()
        self.assertEqual(self.hub.requests("model.safetensors"), [])

    def test_revisions(self):
        self.assert_ok(reference="org/name@refs/pr/1")
        self.assertEqual(self.hub.paths[0], "/api/models/org/name/revision/refs%2Fpr%2F1?blobs=true")
        with open(self.path("refs", "refs", "pr", "1")) as file:
            self.assertEqual(file.read(), COMMIT)
        self.assert_ok(reference="org/name@" + COMMIT)
        self.assertEqual(os.listdir(self.path("refs")), ["refs"])
        self.assert_error(FORMAT, "asked for commit", reference="org/name@" + "f" * 40)

    def test_shards(self):
        index = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors",
                                           "b": "model-00002-of-00002.safetensors"}}).encode()
        self.hub.files = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors.index.json": index,
                          "model-00001-of-00002.safetensors": b"1" * 70000,
                          "model-00002-of-00002.safetensors": b"2" * 70000, "consolidated.safetensors": b"3"}
        self.hub.lfs = {name for name in self.hub.files if name.endswith(".safetensors")}
        self.assert_ok()
        self.assert_files([name for name in self.hub.files if name != "consolidated.safetensors"])
        self.assert_ok("offline", verb="resolve")
        os.unlink(self.path("blobs", self.hub.blob("model-00002-of-00002.safetensors")))
        self.assert_error(NOT_FOUND, "model-00002-of-00002.safetensors", verb="resolve", arguments=("offline",))

    # -- the network misbehaves --

    def test_cut(self):
        self.hub.plan["model.safetensors"] = [cut(MIB), cut(2 * MIB + 5)]
        self.assert_ok()
        self.assert_files()
        ranges = [headers.get("Range") for headers in self.hub.requests("model.safetensors")]
        self.assertEqual(ranges, [None, "bytes=%d-" % MIB, "bytes=%d-" % (2 * MIB + 5)])

    def test_cut_for_ever(self):
        self.hub.always("model.safetensors", cut(1000))
        self.assert_error(NETWORK, "model.safetensors", "it resumes")
        self.assertEqual(len(self.hub.requests("model.safetensors")), 5)
        self.assert_no_ref()
        self.assertEqual(os.path.getsize(self.path("blobs", self.hub.blob("model.safetensors") + ".incomplete")), 1000)
        self.hub.plan.clear()
        self.assert_ok()
        self.assert_files()

    def test_busy_and_broken_server(self):
        self.hub.plan["api"] = [status(429, {"Retry-After": "0"}), status(503)]
        self.hub.plan["config.json"] = [status(500)]
        self.hub.plan["model.safetensors"] = [status(429, {"Retry-After": "1"}), status(502)]
        start = time.monotonic()
        self.assert_ok()
        self.assertGreaterEqual(time.monotonic() - start, 0.95)
        self.assert_files()

    def test_retry_after_is_capped(self):
        self.hub.plan["api"] = [status(429, {"Retry-After": "86400"})]
        start = time.monotonic()
        self.assert_ok()
        self.assertLess(time.monotonic() - start, 60)

    def test_server_stays_broken(self):
        self.hub.always("api", status(500))
        self.assert_error(NETWORK, "the server answered 500")
        self.assertEqual(len(self.hub.requests("api")), 5)
        self.assertFalse(os.path.exists(self.cache))

    def test_nobody_listens(self):
        self.hub.url = "http://127.0.0.1:1"
        self.assert_error(NETWORK, "org/name")

    def test_stall(self):
        self.hub.plan["model.safetensors"] = [stall(MIB, 60)]
        start = time.monotonic()
        self.assert_ok("stall=0.5")
        self.assertLess(time.monotonic() - start, 30)
        self.assert_files()
        self.assertEqual(self.hub.requests("model.safetensors")[1].get("Range"), "bytes=%d-" % MIB)

    def test_range_ignored(self):
        self.hub.plan["model.safetensors"] = [cut(MIB), ignore_range]
        self.assert_ok()
        self.assert_files()

    def test_range_answered_with_another_piece(self):
        data = self.hub.files["model.safetensors"]
        self.hub.plan["model.safetensors"] = [
            cut(MIB), body(data[5:], 206, {"Content-Range": "bytes 5-%d/%d" % (len(data) - 1, len(data))})]
        self.assert_ok()
        self.assert_files()
        self.assertEqual(self.hub.requests("model.safetensors")[2].get("Range"), None)

    def test_range_refused(self):
        self.hub.plan["model.safetensors"] = [cut(MIB), status(416)]
        self.assert_ok()
        self.assert_files()

    def test_range_always_restarts_and_always_cuts(self):
        def step(handler, hub, name):
            handler.headers.replace_header("Range", "bytes=0-") if handler.headers.get("Range") else None
            cut(2 * MIB)(handler, hub, name)
        self.hub.always("model.safetensors", step)
        self.assert_error(NETWORK, "model.safetensors")

    # -- the content is wrong --

    def test_wrong_hash_once(self):
        data = self.hub.files["model.safetensors"]
        self.hub.plan["model.safetensors"] = [body(b"x" + data[1:])]
        self.hub.plan["config.json"] = [body(b"y" + self.hub.files["config.json"][1:])]
        self.assert_ok()
        self.assert_files()

    def test_wrong_hash_always(self):
        data = self.hub.files["model.safetensors"]
        self.hub.always("model.safetensors", body(b"x" + data[1:]))
        self.assert_error(FORMAT, "model.safetensors", "sha256")
        self.assertEqual(len(self.hub.requests("model.safetensors")), 2)
        self.assertNotIn(sha256(data), "".join(os.listdir(self.path("blobs"))))
        self.assert_no_ref()

    def test_damaged_rest_of_an_earlier_attempt(self):
        os.makedirs(self.path("blobs"))
        with open(self.path("blobs", self.hub.blob("model.safetensors") + ".incomplete"), "wb") as file:
            file.write(b"z" * MIB)
        self.assert_ok()
        self.assert_files()
        self.assertEqual([headers.get("Range") for headers in self.hub.requests("model.safetensors")],
                         ["bytes=%d-" % MIB, None])

    def test_too_long_rest_of_an_earlier_attempt(self):
        os.makedirs(self.path("blobs"))
        with open(self.path("blobs", self.hub.blob("model.safetensors") + ".incomplete"), "wb") as file:
            file.write(b"z" * 4 * MIB)
        self.assert_ok()
        self.assert_files()

    def test_damaged_blob_is_fetched_again(self):
        self.assert_ok()
        blob = self.path("blobs", self.hub.blob("model.safetensors"))
        with open(blob, "r+b") as file:
            file.seek(1000)
            file.write(b"\0\1\2\3")
        self.assert_ok()
        self.assert_files()

    def test_lengths_that_lie(self):
        data = self.hub.files["model.safetensors"]
        self.hub.plan["model.safetensors"] = [body(data + b"more"), body(data)]
        self.assert_ok()
        self.assert_files()
        shutil.rmtree(self.cache)
        self.hub.plan["model.safetensors"] = [body(data[:-7]), body(data)]  # shorter, and says so
        self.assert_ok()
        self.assert_files()
        shutil.rmtree(self.cache)

        def endless(handler, hub, name):  # no length at all, and more than there should be
            handler.send_response(200)
            handler.send_header("Connection", "close")
            handler.end_headers()
            handler.close_connection = True
            for _ in range(64):
                handler.wfile.write(b"e" * MIB)
        self.hub.always("model.safetensors", endless)
        self.assert_error(FORMAT, "model.safetensors")

    # -- the listing is wrong --

    def test_unsafe_names(self):
        for name in ("../../../../evil_config.json", "/tmp/evil_config.json", "a/../../config.json", "a\\config.json",
                     "a/\0config.json", "a//config.json", "./config.json", "config\n.json", "..", ""):
            listing = self.hub.listing()
            listing["siblings"][0]["rfilename"] = name
            self.hub.api = json.dumps(listing).encode()
            self.assert_error(FORMAT, "unsafe")
        self.assertFalse(os.path.exists(self.cache))

    def test_bad_listings(self):
        for answer in (b"", b"<html>", b"{}", b"[" * 100000, b'{"sha": "x", "siblings": []}', b"\xff\xfe"):
            self.hub.api = answer
            self.assert_error(FORMAT, "org/name")
        listing = self.hub.listing()
        del listing["siblings"][0]["blobId"]
        self.hub.api = json.dumps(listing).encode()
        self.assert_error(FORMAT, "blobId", "config.json")
        self.assertFalse(os.path.exists(self.cache))

    def test_huge_listing(self):
        self.hub.api = b" " * (17 * MIB)
        self.assert_error(LIMIT, "16 MiB")

        def endless(handler, hub, name):
            handler.send_response(200)
            handler.end_headers()
            handler.close_connection = True
            for _ in range(64):
                handler.wfile.write(b" " * MIB)
        self.hub.plan["api"] = [endless]
        self.assert_error(LIMIT, "16 MiB")

    def test_no_room_on_the_disk(self):
        listing = self.hub.listing()
        for entry in listing["siblings"]:
            if "lfs" in entry:
                entry["lfs"]["size"] = 1 << 40
        self.hub.api = json.dumps(listing).encode()
        self.assert_error(IO, "free", "HF_HUB_CACHE")
        self.assertEqual(len(self.hub.log), 1)

    def test_no_weights(self):
        self.hub.files = {"config.json": b"{}", "rust_model.ot": b"", "model.onnx": b"graph"}
        self.assert_error(UNSUPPORTED, "neither *.safetensors nor pytorch_model.bin (only model.onnx)")

    def test_pytorch(self):
        wanted = {"config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin": b"pickle",
                  "2_Dense/config.json": b"{}", "2_Dense/pytorch_model.bin": b"dense"}
        self.hub.files = dict(wanted, **{"sparse_linear.pt": b"x", "training_args.bin": b"x", "onnx/model.bin": b"x"})
        self.assert_ok()
        self.assert_files(list(wanted))
        self.assert_ok("offline", verb="resolve")
        os.unlink(self.path("blobs", self.hub.blob("pytorch_model.bin")))
        self.assert_error(NOT_FOUND, "pytorch_model.bin", verb="resolve", arguments=("offline",))

    def test_pytorch_shards(self):
        index = json.dumps({"weight_map": {"a": "pytorch_model-00001-of-00002.bin",
                                           "b": "pytorch_model-00002-of-00002.bin"}}).encode()
        self.hub.files = {"config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin.index.json": index,
                          "pytorch_model-00001-of-00002.bin": b"1", "pytorch_model-00002-of-00002.bin": b"2"}
        self.assert_ok()
        self.assert_files(list(self.hub.files))
        self.assert_ok("offline", verb="resolve")
        os.unlink(self.path("blobs", self.hub.blob("pytorch_model-00002-of-00002.bin")))
        self.assert_error(NOT_FOUND, "pytorch_model-00002-of-00002.bin", verb="resolve", arguments=("offline",))

    # -- refusals --

    def test_refusals(self):
        cases = ((401, {}, (), DENIED, "set HF_TOKEN"), (401, {}, ("token=hf_x",), DENIED, "refuses the token"),
                 (403, {"X-Error-Code": "GatedRepo"}, (), DENIED, "org/name is gated"),
                 (401, {"X-Error-Code": "GatedRepo"}, (), DENIED, "accept its terms"),
                 (404, {"X-Error-Code": "RevisionNotFound"}, (), NOT_FOUND, 'no revision "main"'),
                 (404, {}, (), NOT_FOUND, "org/name"), (418, {}, (), NETWORK, "418"))
        for code, headers, arguments, expected, part in cases:
            self.hub.plan["api"] = [status(code, headers)]
            self.assert_error(expected, part, "org/name", arguments=arguments)
        self.assertFalse(os.path.exists(self.cache))
        self.hub.plan["config.json"] = [status(404)]
        self.assert_error(NOT_FOUND, "config.json")

    def test_offline(self):
        self.assert_error(DENIED, "offline", arguments=("offline",))
        self.assertEqual(self.hub.log, [])

    # -- redirects and the token --

    def test_token_stays_at_home(self):
        other = self.make_hub()
        other.always("/cdn/weights", lambda handler, hub, name: cut(MIB)(handler, self.hub, "model.safetensors"),
                     lambda handler, hub, name: send_file(handler, self.hub.files["model.safetensors"]))
        self.hub.plan["model.safetensors"] = [redirect(other.url + "/cdn/weights?Signature=secret"),
                                              redirect(other.url + "/cdn/weights", 307)]
        self.hub.plan["config.json"] = [redirect("/moved/config.json")]
        self.hub.files["/moved/config.json"] = self.hub.files["config.json"]
        listing = self.hub.listing()
        listing["siblings"] = [entry for entry in listing["siblings"] if "moved" not in entry["rfilename"]]
        self.hub.api = json.dumps(listing).encode()
        self.assert_ok("token=hf_secret")
        self.assert_files()
        self.assertEqual(len(other.log), 2)
        for _, headers in other.log:
            self.assertNotIn("Authorization", headers)
            self.assertNotIn("hf_secret", json.dumps(headers))
        self.assertEqual(other.log[1][1].get("Range"), "bytes=%d-" % MIB)
        for name, headers in self.hub.log:
            self.assertEqual(headers.get("Authorization"), "Bearer hf_secret", name)

    def test_bad_redirects(self):
        self.hub.plan["model.safetensors"] = [redirect("file:///etc/passwd")]
        self.assert_error(DENIED, "not http or https")
        self.hub.always("model.safetensors", redirect("/org/name/resolve/%s/model.safetensors" % COMMIT))
        self.assert_error(NETWORK, "redirects")
        self.hub.plan["model.safetensors"] = [redirect("gopher://127.0.0.1/x")]
        self.assert_error(DENIED, "not http or https")

    # -- processes --

    def test_two_at_once(self):
        self.hub.plan["model.safetensors"] = [stall(MIB, 0.3)]
        both = [subprocess.Popen(self.command(), env=self.environment(), stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL) for _ in range(3)]
        for process in both:
            out = process.communicate(timeout=60)[0].decode().strip()
            self.assertEqual(out, "ok " + self.path("snapshots", COMMIT))
        self.assert_files()
        for name in ("config.json", "tokenizer.json"):
            self.assertEqual(len(self.hub.requests(name)), 1)
        self.assertEqual(len(self.hub.requests("model.safetensors")), 2)  # the cut one and its continuation

    def test_killed_and_resumed(self):
        reached = threading.Event()

        def step(handler, hub, name):
            cut(2 * MIB)(handler, hub, name)
            reached.set()
            time.sleep(60)
        self.hub.plan["model.safetensors"] = [step]
        process = subprocess.Popen(self.command(), env=self.environment(), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        self.assertTrue(reached.wait(30))
        incomplete = self.path("blobs", self.hub.blob("model.safetensors") + ".incomplete")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not (os.path.exists(incomplete) and os.path.getsize(incomplete) > MIB):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        have = os.path.getsize(incomplete)
        self.assertGreater(have, MIB)
        self.assert_no_ref()
        self.assert_ok()
        self.assert_files()
        self.assertEqual(self.hub.requests("model.safetensors")[1].get("Range"), "bytes=%d-" % have)

    def test_cancelled_and_resumed(self):
        self.hub.plan["model.safetensors"] = [stall(2 * MIB, 60)]
        self.assert_error(CANCELLED, "cancelled", arguments=("cancel_at=%d" % MIB,))
        incomplete = self.path("blobs", self.hub.blob("model.safetensors") + ".incomplete")
        have = os.path.getsize(incomplete)
        self.assertGreaterEqual(have, MIB)
        self.assert_ok()
        self.assert_files()
        self.assertEqual(self.hub.requests("model.safetensors")[1].get("Range"), "bytes=%d-" % have)

    def test_every_operation_fails_once(self):
        self.hub.files = {"config.json": b"{}", "1_Pooling/config.json": b"{}", "model.safetensors": b"weights"}
        lines = self.run_driver("token=hf_x", verb="sweep").split("\n")
        self.assertRegex(lines[0], "^[0-9]+ operations$")
        self.assertGreater(int(lines[0].split()[0]), 100)
        self.assertEqual(lines[1].strip(), "ok")

    def test_unwritable_cache(self):
        obstacle = os.path.join(self.folder, "file")
        with open(obstacle, "w"):
            pass
        line = self.run_driver(cache=os.path.join(obstacle, "hub"))
        self.assertRegex(line, "^error [0-9]+ .*HF_HUB_CACHE.*" + obstacle)
        line = self.run_driver(cache="/proc/nowhere/hub")
        self.assertRegex(line, "^error [0-9]+ .*HF_HUB_CACHE.*/proc/nowhere")


if __name__ == "__main__":
    unittest.main()
