# SPDX-License-Identifier: Apache-2.0
"""/ws of the real program: replies by id, binary frames, progress, cancelling, limits, mistakes; vectors are those of
the routes, bit for bit."""
import base64
import json
import os
import signal
import socket
import struct
import time
import unittest

from harness import PATIENCE, Server, ServerTest, environment
from wire import BINARY, CLOSE, PING, PONG, TEXT, Client, WebSocket, frame, handshake

SIGLIP = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "siglip", "siglip")
BERT = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "bert", "bert-cls", "model")
EXACT = ("--precision", "f32", "--quantization", "none", "--device", "cpu")


class Socket(WebSocket):
    """Objects in and out."""

    def __init__(self, server, sock=None):
        super().__init__(sock or server.socket())
        self.sock.settimeout(PATIENCE)

    def say(self, message):
        self.send(frame(TEXT, message if isinstance(message, bytes) else json.dumps(message).encode()))
        return self

    def say_binary(self, message, *media):
        text = json.dumps(message).encode()
        self.send(frame(BINARY, struct.pack("<I", len(text)) + text + b"".join(media)))
        return self

    def hear(self):
        opcode, data = self.frame()
        assert opcode == TEXT, (opcode, data)
        return json.loads(data)

    def hear_binary(self):
        """(object, bytes behind it)"""
        opcode, data = self.frame()
        assert opcode == BINARY, (opcode, data)
        n = struct.unpack("<I", data[:4])[0]
        return json.loads(data[4:4 + n]), data[4 + n:]

    def ask(self, message):
        return self.say(message).hear()


def picture(name="a.png"):
    with open(os.path.join(SIGLIP, "inputs", name), "rb") as file:
        return file.read()


class SocketTest(ServerTest):
    MODEL, ARGS = SIGLIP + "/model", (*EXACT, "--max-body", "2M")

    def setUp(self):
        self.socket = Socket(self.server)
        self.addCleanup(self.socket.sock.close)

    def occupy(self):
        """Bulk work of somebody else, with which that of a test takes turns: it isn't done at once."""
        other = Socket(self.server)
        self.addCleanup(other.sock.close)
        other.say({"op": "embed", "texts": [f"{i} occupied " * 40 for i in range(2048)], "priority": "bulk"})

    def refused(self, message, code, *says, id=None, param=None):
        reply = message if "error" in message else self.socket.ask(message)
        self.assertEqual(set(reply), {"error", "id"}, reply)
        self.assertEqual(reply["id"], id)
        self.assertEqual(reply["error"]["code"], code, reply)
        if param is not None:
            self.assertEqual(reply["error"].get("param"), param, reply)
        for text in says:
            self.assertIn(text, reply["error"]["message"])
        return reply["error"]


class Requests(SocketTest):
    def test_texts(self):
        wanted = self.ok("/embed/text", {"texts": ["a", "b"]})
        reply = self.socket.ask({"op": "embed", "id": 7, "texts": ["a", "b"]})
        self.assertEqual(reply.pop("id"), 7)
        self.assertEqual(reply, wanted)

    def test_items_and_images(self):
        uri = "data:image/png;base64," + base64.b64encode(picture()).decode()
        items = [{"text": "a"}, {"image": uri}, "b"]
        wanted = self.ok("/embed/multimodal", {"items": items})["embeddings"]
        self.assertEqual(self.socket.ask({"op": "embed", "id": "x", "items": items})["embeddings"], wanted)
        self.assertEqual(self.socket.ask({"op": "embed", "images": [uri]})["embeddings"], wanted[1:2])
        self.assertEqual(self.socket.ask({"op": "embed", "text": "a"})["embeddings"], wanted[:1])

    def test_options(self):
        message = {"texts": ["a"], "dimensions": 8, "encoding_format": "base64", "output_dtype": "int8"}
        wanted = self.ok("/embed/text", message)
        reply = self.socket.ask({"op": "embed", "id": 1, **message})
        self.assertEqual(reply["embeddings"], wanted["embeddings"])
        self.assertEqual(reply["shape"], [1, 8])

    def test_ids(self):
        for given, wanted in ((5, 5), ("five", "five"), ('"\\\u00e9\n', '"\\\u00e9\n'), (-3, -3), (None, None)):
            self.assertEqual(self.socket.ask({"op": "embed", "id": given, "texts": "a"})["id"], wanted)
        self.assertIsNone(self.socket.ask({"op": "embed", "texts": "a"})["id"])
        self.refused({"op": "embed", "id": 1.5, "texts": "a"}, "wrong_type", param="id")
        self.refused({"op": "embed", "id": [1], "texts": "a"}, "wrong_type", param="id")
        self.refused({"op": "embed", "id": "x" * 300, "texts": "a"}, "invalid_value", param="id")

    def test_many_at_once(self):
        texts = [f"text number {i}" for i in range(50)]
        wanted = self.ok("/embed/text", {"texts": texts})["embeddings"]
        for i, text in enumerate(texts):
            self.socket.say({"op": "embed", "id": i, "texts": [text]})
        replies = {reply["id"]: reply for reply in (self.socket.hear() for _ in texts)}
        self.assertEqual([replies[i]["embeddings"][0] for i in range(50)], wanted)

    def test_short_ones_overtake(self):
        self.socket.say({"op": "embed", "id": "bulk", "texts": [f"bulk {i}" for i in range(2000)], "priority": "bulk"})
        self.socket.say({"op": "embed", "id": "short", "texts": "x"})
        self.assertEqual([self.socket.hear()["id"] for _ in range(2)], ["short", "bulk"])

    def test_ping(self):
        self.assertEqual(self.socket.ask({"op": "ping", "id": 3}), {"op": "pong", "id": 3})
        self.assertEqual(self.socket.ask({"op": "ping"}), {"op": "pong", "id": None})
        self.socket.send(frame(PING, b"x"))
        self.assertEqual(self.socket.frame(), (PONG, b"x"))

    def test_progress(self):
        texts = [f"{i} words " * 20 for i in range(2048)]
        self.occupy()
        self.socket.say({"op": "embed", "id": 1, "texts": texts, "progress": True, "dimensions": 1})
        notes = []
        while True:
            reply = self.socket.hear()
            if "embeddings" in reply:
                break
            self.assertEqual((reply["op"], reply["id"], reply["total"]), ("progress", 1, 2048))
            notes.append(reply["done"])
        self.assertEqual(notes, sorted(notes))
        self.assertTrue(all(0 < n <= 2048 for n in notes))
        self.assertEqual(reply["shape"], [2048, 1])
        self.assertGreater(len(notes), 0)

    def test_cancel(self):
        texts = [f"cancel {i} words " * 20 for i in range(2048)]
        self.socket.say({"op": "embed", "id": 1, "texts": texts})
        time.sleep(0.1)
        self.socket.say({"op": "cancel", "id": 1})
        replies = [self.socket.hear() for _ in range(2)]
        note, = [reply for reply in replies if reply.get("op") == "cancel"]
        answer, = [reply for reply in replies if reply.get("op") != "cancel"]
        if note["found"]:
            self.refused(answer, "cancelled", id=1)
        else:
            self.assertIn("embeddings", answer)
        self.assertEqual(self.socket.ask({"op": "cancel", "id": 1}), {"op": "cancel", "id": 1, "found": False})
        self.assertEqual(self.socket.ask({"op": "cancel"}), {"op": "cancel", "id": None, "found": False})

    def test_id_of_a_request_under_way(self):
        texts = [f"twice {i} words " * 20 for i in range(2048)]
        self.occupy()
        self.socket.say({"op": "embed", "id": "x", "texts": texts, "progress": True, "dimensions": 1})
        self.assertEqual(self.socket.hear()["op"], "progress")
        self.socket.say({"op": "embed", "id": "x", "texts": "a"})
        reply = next(reply for reply in iter(self.socket.hear, None) if reply.get("op") != "progress")
        self.refused(reply, "conflict", id="x", param="id")

    def test_leaving(self):
        for _ in range(10):
            socket = Socket(self.server)
            socket.say({"op": "embed", "id": 1, "texts": ["leaving"] * 500})
            socket.sock.close()
        self.assertEqual(self.socket.ask({"op": "embed", "texts": "a"})["shape"][0], 1)


class Frames(SocketTest):
    def rows(self, *names):
        uris = ["data:image/png;base64," + base64.b64encode(picture(name)).decode() for name in names]
        return self.ok("/embed/image", {"images": uris})["embeddings"]

    def media(self, *names):
        return [{"size": len(picture(name)), "type": "image"} for name in names]

    def test_pictures_alone(self):
        names = ("a.png", "b.jpg")
        self.socket.say_binary({"op": "embed", "id": 1, "media": self.media(*names)}, *map(picture, names))
        reply = self.socket.hear()
        self.assertEqual(reply["id"], 1)
        self.assertEqual(reply["embeddings"], self.rows(*names))

    def test_items_with_media(self):
        names = ("a.png", "b.jpg", "d_gray.png")
        items = [{"media": 2}, {"text": "a"}, {"media": [0]}, {"parts": [{"media": 1}]}]
        self.socket.say_binary({"op": "embed", "media": self.media(*names), "items": items}, *map(picture, names))
        a, b, d = self.rows(*names)
        text = self.ok("/embed/text", {"texts": "a"})["embeddings"][0]
        self.assertEqual(self.socket.hear()["embeddings"], [d, text, a, b])

    def test_binary_replies(self):
        texts = ["a", "b", "c"]
        wanted = self.ok("/embed/text", {"texts": texts})
        self.socket.say_binary({"op": "embed", "id": 9, "texts": texts, "encoding": "binary"})
        head, rows = self.socket.hear_binary()
        self.assertEqual(rows, b"".join(struct.pack(f"<{len(row)}f", *row) for row in wanted["embeddings"]))
        del wanted["embeddings"]
        self.assertEqual(head, {**wanted, "id": 9})
        self.socket.say({"op": "embed", "id": 10, "texts": texts, "encoding": "binary", "output_dtype": "ubinary"})
        head, rows = self.socket.hear_binary()
        self.assertEqual((head["dtype"], len(rows)), ("ubinary", head["shape"][0] * head["shape"][1]))
        self.socket.say({"op": "embed", "id": 11, "texts": 5, "encoding": "binary"})
        self.refused(self.socket.hear(), "wrong_type", id=11, param="texts")

    def test_bad_frames(self):
        def refuse(data, code, *says, id=None):
            self.socket.send(frame(BINARY, data))
            self.refused(self.socket.hear(), code, *says, id=id)

        def message(header, data=b""):
            text = json.dumps(header).encode()
            return struct.pack("<I", len(text)) + text + data

        refuse(b"", "malformed", "0 bytes")
        refuse(b"\x01\x00", "malformed")
        refuse(b"\xff\xff\xff\xff{}", "malformed")
        refuse(b"\x02\x00\x00\x00[]", "wrong_type", "expected an object")
        refuse(b"\x03\x00\x00\x00{]}", "malformed")
        embed = {"op": "embed", "id": 1}
        refuse(message({**embed, "texts": "a"}, b"left"), "malformed", "4 bytes follow", id=1)
        refuse(message({**embed, "media": [{"size": 5}]}, b"left"), "malformed", "is 5, but 4 bytes", id=1)
        refuse(message({**embed, "media": [{"size": 3}]}, b"left"), "malformed", "1 bytes are left", id=1)
        refuse(message({**embed, "media": [{"size": 0}]}, b""), "invalid_value", "is 0", id=1)
        refuse(message({**embed, "media": [{"size": -1}]}, b""), "invalid_value", id=1)
        refuse(message({**embed, "media": [{}]}, b"x"), "wrong_type", "is missing", id=1)
        refuse(message({**embed, "media": {"size": 1}}, b"x"), "wrong_type", "expected a list", id=1)
        refuse(message({**embed, "media": [{"size": 4, "type": "audio"}]}, b"left"), "invalid_value", '"image"', id=1)
        refuse(message({**embed, "media": [{"size": 4, "type": "video"}]}, b"left"), "bad_media", "no video", id=1)
        refuse(message({**embed, "media": [{"size": 4, "type": "document"}], "mode": "pages"}, b"left"),
               "invalid_value", "page_image", id=1)
        refuse(message({**embed, "media": [{"size": 4, "type": "document"}], "items": [{"media": 0}]}, b"left"),
               "invalid_value", "vectors of its own", id=1)
        refuse(message({**embed, "media": [{"size": 2, "type": "video"}, {"size": 2}]}, b"left"), "invalid_value",
               "several types", id=1)
        refuse(message({**embed, "media": [{"size": 4}], "items": [{"media": 1}]}, b"left"), "invalid_value",
               "the frame has 1 media", id=1)
        refuse(message({**embed, "media": [{"size": 4}]}, b"left"), "bad_media", id=1)


class Files(SocketTest):
    """Clips and documents: fields and replies are those of the routes."""
    CLIP, REPORT, NOTES = "video/files/moving_vp9.webm", "documents/report.pdf", "documents/plain.txt"

    def setUp(self):
        super().setUp()
        self.files = {}
        for name in (self.CLIP, self.REPORT, self.NOTES):
            with open(os.path.join(os.environ["TKR_TEST_DIR"], "golden", name), "rb") as file:
                self.files[name] = file.read()

    def uri(self, name):
        return "data:application/octet-stream;base64," + base64.b64encode(self.files[name]).decode()

    def media(self, kind, *names):
        return [{"size": len(self.files[name]), "type": kind, "name": os.path.basename(name)} for name in names]

    def test_videos(self):
        fields = {"max_frames": 4, "pooling": "max"}
        wanted = self.ok("/embed/video", {"videos": [self.uri(self.CLIP)], **fields})
        self.assertEqual(wanted["frames"], [4])
        reply = self.socket.ask({"op": "embed", "id": 1, "videos": self.uri(self.CLIP), **fields})
        self.assertEqual(reply, {**wanted, "id": 1})
        frame = {"op": "embed", "id": 2, "media": self.media("video", self.CLIP), **fields}
        self.assertEqual(self.socket.say_binary(frame, self.files[self.CLIP]).hear(), {**wanted, "id": 2})
        self.socket.say_binary({**frame, "encoding": "binary"}, self.files[self.CLIP])
        head, rows = self.socket.hear_binary()
        self.assertEqual(head["frames"], [4])
        self.assertEqual(rows, struct.pack(f"<{len(wanted['embeddings'][0])}f", *wanted["embeddings"][0]))

    def test_items_with_videos(self):
        wanted = self.ok("/embed/video", {"videos": [self.uri(self.CLIP)], "max_frames": 3})["embeddings"][0]
        items = [{"video": self.uri(self.CLIP), "max_frames": 3}, {"text": "a"},
                 {"parts": [{"video": {"base64": base64.b64encode(self.files[self.CLIP]).decode()}}], "max_frames": 3}]
        reply = self.ok("/embed/multimodal", {"items": items})
        self.assertEqual((reply["embeddings"][0], reply["embeddings"][2], reply["frames"]), (wanted, wanted, [3, 0, 3]))
        self.assertEqual(self.socket.ask({"op": "embed", "id": 1, "items": items}), {**reply, "id": 1})
        media = [*self.media("video", self.CLIP), {"size": len(picture())}]
        items = [{"media": 1}, {"media": 0, "max_frames": 3}]
        self.socket.say_binary({"op": "embed", "media": media, "items": items}, self.files[self.CLIP], picture())
        reply = self.socket.hear()
        self.assertEqual((reply["embeddings"][1], reply["frames"]), (wanted, [0, 3]))
        self.refused({"op": "embed", "items": [{"text": "a", "fps": 2}]}, "invalid_value", "there is none",
                     param="items[0].fps")

    def test_documents(self):
        names = (self.REPORT, self.NOTES)
        fields = {"mode": "both", "chunk_tokens": 16, "dimensions": 8}
        files = [{"base64": base64.b64encode(self.files[name]).decode(), "name": os.path.basename(name)}
                 for name in names]
        wanted = self.ok("/embed/document", {"documents": files, **fields})
        kinds = [(p["file"], p["kind"]) for p in wanted["passages"]]
        self.assertEqual({*kinds}, {(0, "text"), (0, "page_image"), (1, "text")})
        self.assertEqual(len(kinds), len(wanted["embeddings"]))
        reply = self.socket.ask({"op": "embed", "id": 1, "documents": files, **fields})
        self.assertEqual(reply, {**wanted, "id": 1})
        frame = {"op": "embed", "id": 2, "media": self.media("document", *names), **fields}
        self.socket.say_binary(frame, *(self.files[name] for name in names))
        self.assertEqual(self.socket.hear(), {**wanted, "id": 2})
        self.socket.say_binary({**frame, "encoding": "binary"}, *(self.files[name] for name in names))
        head, rows = self.socket.hear_binary()
        self.assertEqual((head["passages"], head["documents"]), (wanted["passages"], wanted["documents"]))
        self.assertEqual(rows, b"".join(struct.pack("<8f", *row) for row in wanted["embeddings"]))

    def test_others_overtake_and_cancel(self):
        text = ("A sentence for the passages. " * 40 + "\n\n") * 40
        document = {"base64": base64.b64encode(text.encode()).decode()}
        self.socket.say({"op": "embed", "id": "long", "documents": [document], "chunk_tokens": 16, "progress": True})
        self.socket.say({"op": "embed", "id": "short", "texts": "a"}).say({"op": "cancel", "id": "long"})
        replies = []
        while {"long", "short"} - {reply["id"] for reply in replies if "op" not in reply}:
            replies.append(self.socket.hear())
        short, = [reply for reply in replies if reply["id"] == "short"]
        self.assertIn("embeddings", short)
        found, = [reply["found"] for reply in replies if reply.get("op") == "cancel"]
        answer, = [reply for reply in replies if reply["id"] == "long" and "op" not in reply]
        if found:
            self.refused(answer, "cancelled", id="long")

    def test_refused(self):
        self.refused({"op": "embed", "id": 1, "documents": ["data:,x"]}, "bad_media", id=1, param="documents[0]")
        self.refused({"op": "embed", "id": 1, "documents": 5}, "wrong_type", id=1, param="documents")
        self.refused({"op": "embed", "id": 1, "documents": []}, "empty", id=1, param="documents")
        self.refused({"op": "embed", "id": 1, "videos": ["https://example.org/a.mp4"]}, "invalid_value",
                     "a data URI or base64", id=1, param="videos[0]")
        broken = base64.b64encode(self.files[self.REPORT][:900]).decode()
        self.refused({"op": "embed", "id": 1, "documents": [self.uri(self.NOTES), broken]}, "bad_media", id=1,
                     param="documents[1]")


class Mistakes(SocketTest):
    def test_messages(self):
        self.refused({"id": 1, "texts": "a"}, "wrong_type", "is missing", id=1, param="op")
        self.refused({"op": "embedd", "id": 1}, "invalid_value", '"embed", "ping" or "cancel"', id=1, param="op")
        self.refused({"op": 5, "id": 1}, "wrong_type", id=1, param="op")
        self.refused({"op": "embed", "id": 1}, "empty", id=1)
        self.refused({"op": "embed", "id": 1, "texts": []}, "empty", id=1, param="texts")
        self.refused({"op": "embed", "id": 1, "texts": "a", "dimension": 3}, "invalid_value",
                     'did you mean "dimensions"?', id=1, param="dimension")
        self.refused({"op": "embed", "id": 1, "texts": "a", "encoding": "gzip"}, "invalid_value", id=1,
                     param="encoding")
        self.refused({"op": "embed", "id": 1, "texts": "a", "progress": "yes"}, "wrong_type", id=1, param="progress")
        self.refused({"op": "embed", "id": 1, "texts": "a", "model": 5}, "wrong_type", id=1, param="model")
        for text, code in ((b"", "malformed"), (b"{", "malformed"), (b"[]", "wrong_type"), (b'"x"', "wrong_type"),
                           (b'{"op":"ping","op":"ping"}', "malformed"), (b"[" * 1000, "malformed"),
                           (b'{"op":"embed","texts":NaN}', "malformed")):
            self.socket.say(text)
            self.refused(self.socket.hear(), code)
        self.assertEqual(self.socket.ask({"op": "ping"})["op"], "pong")  # it bears them all

    def test_errors_carry_ids_for_the_log(self):
        error = self.refused({"op": "embed", "id": 1, "texts": 5}, "wrong_type", id=1)
        self.assertRegex(error["request_id"], r"^.+-\d+$")
        self.assertEqual(error["status"], 400)

    def test_too_large(self):
        self.socket.send(frame(TEXT, b'{"op":"embed","texts":"' + b"a" * (3 << 20) + b'"}'))
        self.assertEqual(self.socket.frame(), (CLOSE, 1009))

    def test_no_web_socket_asked(self):
        reply = self.server.get("/ws")
        self.fails(reply, 426, "upgrade_required", "Upgrade")
        self.assertEqual(reply.headers["upgrade"], "websocket")

    def test_other_origins(self):
        with Client(self.server.socket()) as client:
            client.send(handshake(extra=b"Origin: https://evil.example\r\n"))
            self.assertEqual(client.answer().status, 403)


class Limits(ServerTest):
    MODEL, ARGS = BERT, (*EXACT, "--websocket-in-flight", "4")

    def test_too_many_in_flight(self):
        socket = Socket(self.server)
        self.addCleanup(socket.sock.close)
        texts = [f"in flight {i} words " * 10 for i in range(400)]
        for i in range(12):
            socket.say({"op": "embed", "id": i, "texts": texts[i * 30:i * 30 + 30], "dimensions": 1,
                        "priority": "bulk"})
        socket.say({"op": "ping", "id": "end"})
        replies = [socket.hear() for _ in range(13)]
        errors = [reply["error"] for reply in replies if "error" in reply]
        for error in errors:
            self.assertEqual((error["code"], error["status"]), ("overloaded", 429))
            self.assertGreater(error["retry_after"], 0)
        self.assertEqual({reply["id"] for reply in replies}, {*range(12), "end"})
        for i in range(12):  # one after the other all are answered
            self.assertEqual(socket.ask({"op": "embed", "id": i, "texts": "a", "dimensions": 1})["id"], i)

    def test_a_peer_that_reads_late_loses_nothing(self):
        """Replies of 13 MB and more wait for it; the connection is neither cut nor does it take in more."""
        socket = Socket(self.server)
        self.addCleanup(socket.sock.close)
        texts = [f"late reader {i}" for i in range(2048)]
        for i in range(4):
            socket.say({"op": "embed", "id": i, "texts": texts, "priority": "bulk"})
        time.sleep(3)
        replies = [socket.hear() for _ in range(4)]
        self.assertEqual({reply["id"] for reply in replies}, set(range(4)))
        self.assertEqual({tuple(reply["shape"]) for reply in replies}, {(2048, 64)})
        self.assertEqual(len({json.dumps(reply["embeddings"]) for reply in replies}), 1)


class Large(unittest.TestCase):
    """Replies of which one is more than may be queued."""
    TEXTS = 14000

    def setUp(self):
        self.server = Server(*EXACT, "--max-client-batch-size", "16384", "--timeout", "120", model=BERT)
        self.addCleanup(self.server.stop)
        self.embed = json.dumps({"op": "embed", "id": 1, "texts": ["a"] * self.TEXTS}, separators=(",", ":")).encode()
        self.socket = Socket(self.server)
        self.addCleanup(self.socket.sock.close)
        self.socket.ask(self.embed)  # from here on it is cached, and answered as soon as it is read

    def test_a_short_reply_behind_one(self):
        for _ in range(3):
            self.socket.send(frame(TEXT, self.embed) + frame(TEXT, b'{"op":"ping","id":2}') + frame(TEXT, b"{"))
            replies = {reply["id"]: reply for reply in (self.socket.hear() for _ in range(3))}
            self.assertEqual(replies[1]["shape"], [self.TEXTS, 64])
            self.assertEqual(replies[2], {"op": "pong", "id": 2})
            self.assertEqual(replies[None]["error"]["code"], "malformed")


class Unfinished(unittest.TestCase):
    def test_messages_have_their_time(self):
        with Server(*EXACT, "--read-timeout", "1", model=BERT) as server:
            late, other = Socket(server), Socket(server)
            late.send(frame(TEXT, b'{"op":"embed","id":1,"texts":"a"}') + frame(BINARY, bytes(9000), length=1 << 20))
            self.assertEqual(late.hear()["id"], 1)
            began = time.monotonic()
            self.assertEqual(late.frame(), (CLOSE, 1008))
            self.assertLess(time.monotonic() - began, PATIENCE / 4)
            self.assertEqual(other.ask({"op": "embed", "id": 2, "texts": "a"})["id"], 2)
            late.sock.close()
            other.sock.close()


class End(unittest.TestCase):
    def test_replies_come_before_the_end(self):
        server = Server(*EXACT, model=BERT)
        socket, idle = Socket(server), Socket(server)
        texts = [f"last words {i} " * 10 for i in range(500)]
        for i in range(2):
            socket.say({"op": "embed", "id": i, "texts": texts, "dimensions": 1})
        socket.ask({"op": "ping"})  # they have been read
        server.signal(signal.SIGTERM)
        self.assertEqual(idle.frame(), (CLOSE, 1001))
        replies = [socket.hear() for _ in range(2)]
        found = {(reply["id"], *reply.get("shape", [str(reply)])) for reply in replies}
        self.assertEqual(found, {(0, 500, 1), (1, 500, 1)})
        self.assertEqual(socket.frame(), (CLOSE, 1001))
        socket.sock.close()
        idle.sock.close()
        server.process.wait(PATIENCE)
        self.assertEqual(server.stop(), 0)


class Keys(unittest.TestCase):
    def test_key_and_rate(self):
        env = environment(TKR_API_KEY="secret-key-of-the-test")
        with Server("--requests-per-minute", "5", *EXACT, model=BERT, env=env) as server:
            with Client(server.socket()) as client:
                self.assertEqual(client.send(handshake()).answer().status, 401)
            socket = Socket.__new__(Socket)
            Client.__init__(socket, server.socket())
            socket.sock.settimeout(PATIENCE)
            self.addCleanup(socket.sock.close)
            socket.send(handshake(extra=b"Authorization: Bearer secret-key-of-the-test\r\n"))
            self.assertEqual(socket.answer().status, 101)
            codes = [socket.ask({"op": "embed", "id": i, "texts": "a"}).get("error", {}).get("code") for i in range(8)]
            self.assertIsNone(codes[0])
            self.assertEqual(codes[-1], "rate_limited")
            socket.sock.close()


if __name__ == "__main__":
    unittest.main()
