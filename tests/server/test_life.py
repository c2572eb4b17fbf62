# SPDX-License-Identifier: Apache-2.0
"""Ends and changes of a server's life: signals while a model is loaded, what is read again, a log whose file goes away
or whose disk is full, the user that root becomes. The real program, real signals."""
import getpass
import json
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import ssl
import tempfile
import threading
import time
import unittest

from harness import PATIENCE, Server, cli, environment
from test_operations import over_unix, until


class EndWhileLoading(unittest.TestCase):
    """SIGTERM while a model is downloaded, or loaded in a way that can't be stopped: status 0 all the same."""

    def setUp(self):
        hub = socket.create_server(("127.0.0.1", 0))  # takes connections, and answers none
        self.addCleanup(hub.close)
        self.taken = []

        def take():
            while True:
                try:
                    self.taken.append(hub.accept()[0])
                except OSError:
                    return
        threading.Thread(target=take, daemon=True).start()
        self.addCleanup(lambda: [connection.close() for connection in self.taken])
        self.env = environment(HF_ENDPOINT=f"http://127.0.0.1:{hub.getsockname()[1]}", HF_HOME="/nonexistent")
        del self.env["HF_HUB_OFFLINE"]
        self.stuck = environment(TKR_MLX_MODULE=os.path.join(os.environ["TKR_BUILD_DIR"], "tests",
                                                             "fake_mlx_module.so"), TKR_FAKE_MLX="hang=1000")
        # A load that is abandoned leaves its threads.
        self.stuck["TSAN_OPTIONS"] = self.stuck.get("TSAN_OPTIONS", "") + ":report_thread_leaks=0"

    def ends(self, server, least, most):
        begin = time.monotonic()
        server.process.wait(PATIENCE)
        self.assertEqual(server.process.returncode, 0, server.text())
        self.assertTrue(least <= time.monotonic() - begin < most, (time.monotonic() - begin, server.text()))

    def test_download_at_the_start(self):
        with Server("--drain-timeout", "20", model="someorg/somemodel", env=self.env, wait=False) as server:
            until(lambda: self.taken, "the hub is asked")
            server.signal(signal.SIGTERM)
            self.ends(server, 0, 10)
            server.wait_line("model someorg/somemodel: .*cancelled")

    def test_download_at_run_time(self):
        with Server("--drain-timeout", "4", "--admin-socket", "a.sock", env=self.env) as server:
            path = os.path.join(server.folder.name, "a.sock")
            replies = []
            thread = threading.Thread(target=lambda: replies.append(over_unix(
                path, "POST", "/admin/models/load", {"model": "someorg/somemodel"}).status))
            thread.start()
            until(lambda: self.taken, "the hub is asked")
            server.signal(signal.SIGTERM)
            self.ends(server, 1, 10)  # what is under way has its time
            thread.join(PATIENCE)
            self.assertEqual(replies, [503])

    def test_load_that_cannot_be_stopped(self):
        with Server("--drain-timeout", "600", "--socket", "s.sock", "--device", "gpu", env=self.stuck,
                    wait=False) as server:
            server.wait_address()
            time.sleep(0.5)
            server.signal(signal.SIGTERM)
            self.ends(server, 1, 6)  # nobody waits for it
            server.wait_line("a model is still being loaded: ending without it")
            self.assertFalse(os.path.exists(os.path.join(server.folder.name, "s.sock")))

    def test_lazy_load_that_cannot_be_stopped(self):
        golden = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "bert", "bert-mean", "model")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "serve.yaml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"model: {{name: demo, device: cpu}}\nmodels:\n"
                           f"  - {{name: {golden}, alias: late, device: gpu, lazy: true}}\n")
            for seconds, again in ((1, False), (600, True)):
                with Server("-c", path, "--drain-timeout", str(seconds), env=self.stuck, model=None) as server:
                    with server.socket() as client:
                        body = b'{"texts":"x","model":"late"}'
                        client.sendall(b"POST /embed/text HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
                                       b"Content-Type: application/json\r\n\r\n%s" % (len(body), body))
                        time.sleep(0.5)
                        server.signal(signal.SIGTERM)
                        server.wait_line("told to end")
                        if again:
                            server.signal(signal.SIGTERM)
                        self.ends(server, 0, 6)
                        self.assertTrue(client.recv(4096).startswith(b"HTTP/1.1 503 "))
                        server.wait_line("a model is still being loaded: ending without it")


class Logs(unittest.TestCase):
    def test_a_file_that_cannot_be_opened_again(self):
        with Server("--admin-socket", "a.sock", "--log-file", "logs/server.log", wait=False,
                    preexec_fn=lambda: os.mkdir("logs")) as server:
            server.wait_ready()
            folder = server.folder.name
            os.rename(os.path.join(folder, "logs"), os.path.join(folder, "old"))
            path = os.path.join(folder, "old", "server.log")

            def said():
                with open(path, encoding="utf-8") as file:
                    return [json.loads(line) for line in file]
            server.signal(signal.SIGHUP)
            until(lambda: any("can't be opened again, and goes on in the old file: logs/server.log: " in
                              line.get("message", "") and line["level"] == "error" for line in said()), "it is told")
            self.assertFalse([line for line in said() if re.search("read again|opened again$",
                                                                   line.get("message", ""))])
            reply = over_unix(os.path.join(folder, "a.sock"), "POST", "/admin/reload")
            self.assertEqual(reply.status, 500)
            self.assertIn("logs/server.log", reply.json()["error"]["message"])
            os.rename(os.path.join(folder, "old"), os.path.join(folder, "logs"))
            path = os.path.join(folder, "logs", "server.log")
            server.signal(signal.SIGHUP)
            until(lambda: said()[-1].get("message") == "logs/server.log: opened again", "it is told")

    def test_a_full_disk_damages_one_line(self):
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (3001, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        with Server("--log-file", "server.log", wait=False, preexec_fn=limit) as server:
            path = os.path.join(server.folder.name, "server.log")
            server.wait_ready()

            def ask_until(true, what):
                until(lambda: server.get("/health").status == 200 and true(), what)
            ask_until(lambda: os.path.getsize(path) == 3001, "the file is full")
            most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (most, most))
            ask_until(lambda: os.path.getsize(path) > 4000, "it goes on")
            good, bad = [], []
            with open(path, encoding="utf-8") as file:
                for line in file.read().splitlines():
                    try:
                        good.append(json.loads(line).get("message", ""))
                    except ValueError:
                        bad.append(line)
            self.assertEqual(len(bad), 1, bad)
            self.assertTrue(bad[0].startswith('{"time":') or bad[0] == "", bad)
            self.assertEqual(len([message for message in good if "lines of this log were lost" in message]), 1)

    def test_secrets_stay_out_of_the_log(self):
        for who, shown in (("user:hush-hush", "user:***"), ("hush-hush", "***")):
            with Server("--otlp-endpoint", f"http://{who}@127.0.0.1:9") as server:
                server.post("/embed/text", {"texts": "x"})
                line = server.wait_line("traces can't be sent to").string
                self.assertIn(f"http://{shown}@127.0.0.1:9/v1/traces", line)
                self.assertNotIn("hush", server.text())


class User(unittest.TestCase):
    MODEL = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "bert", "bert-mean", "model")

    def test_what_root_made_becomes_the_users(self):
        """Sockets and log belong to the user that root becomes; files that it can't read are told."""
        with tempfile.TemporaryDirectory() as folder:
            keys = os.path.join(folder, "keys")
            made = [os.path.join(folder, name) for name in ("s.sock", "a.sock", "log")]
            self.assertEqual(cli.run("key", "new", "alice", "--keys-file", keys).returncode, 0)
            user = pwd.getpwnam("nobody" if os.geteuid() == 0 else getpass.getuser())
            if os.geteuid() == 0:
                os.chmod(folder, 0o755)
                os.chown(folder, user.pw_uid, user.pw_gid)
            model = shutil.copytree(self.MODEL, os.path.join(folder, "model"))  # the source may be in a private folder
            with Server("--user", user.pw_name, "--socket", made[0], "--admin-socket", made[1], "--log-file", made[2],
                        "--keys-file", keys, model=model) as server:
                for path, mode in zip(made[:2], (0o660, 0o600)):
                    look = os.stat(path)
                    self.assertEqual((look.st_uid, look.st_gid, look.st_mode & 0o777),
                                     (user.pw_uid, user.pw_gid, mode))
                self.assertEqual(os.stat(made[2]).st_uid, user.pw_uid)
                with open(made[2], encoding="utf-8") as file:
                    told = "can't read auth.keys_file again at SIGHUP: " + keys in file.read()
                self.assertEqual(told, os.geteuid() == 0)
                self.assertEqual(server.stop(), 0)
            self.assertFalse(os.path.exists(made[0]) or os.path.exists(made[1]))

    def test_a_model_in_a_folder_that_is_closed_to_the_user(self):
        """It is there, but not for this user: the reason is told, not that there is no model."""
        with tempfile.TemporaryDirectory() as folder:
            closed = os.path.join(folder, "closed")
            shutil.copytree(self.MODEL, os.path.join(closed, "model"))
            os.chmod(folder, 0o755)
            os.chmod(closed, 0o700 if os.geteuid() == 0 else 0)
            user = "nobody" if os.geteuid() == 0 else getpass.getuser()
            hub = os.path.join(closed, "hub", "models--sentence-transformers--all-MiniLM-L6-v2", "refs", "main")
            for model, path in ((os.path.join(closed, "model"),) * 2, ("minilm", hub)):
                with Server("--user", user, model=model, env=environment(HF_HOME=closed), wait=False) as server:
                    server.wait_line(f"model {model}: {path}: cannot look for it: Permission denied")
                    server.process.wait(PATIENCE)
                    self.assertEqual(server.process.returncode, 1)
            os.chmod(closed, 0o700)


class Reload(unittest.TestCase):
    def test_admin_reads_certificates_again(self):
        def take(name):
            for end in ("pem", "key"):
                shutil.copy(os.path.join(certificates, f"{name}.{end}"), os.path.join(folder, end))

        def name():
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(server.socket()) as client:
                certificate = client.getpeercert(True)
                return b"one" in certificate, b"two" in certificate
        certificates = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "server")
        with tempfile.TemporaryDirectory() as folder:
            take("one")
            pem, admin = os.path.join(folder, "pem"), os.path.join(folder, "a.sock")
            with Server("--tls-certificate", pem, "--tls-key", os.path.join(folder, "key"), "--admin-socket", admin,
                        wait=False) as server:
                server.wait_line("ready after")
                self.assertEqual(name(), (True, False))
                take("two")
                self.assertEqual(over_unix(admin, "POST", "/admin/reload").status, 200)
                self.assertEqual(name(), (False, True))
                server.wait_line(pem + ": read again")
                shutil.copy(os.path.join(certificates, "one.key"), os.path.join(folder, "key"))
                reply = over_unix(admin, "POST", "/admin/reload")
                self.assertEqual(reply.status, 500)
                self.assertIn(folder, reply.json()["error"]["message"])
                self.assertEqual(name(), (False, True))


if __name__ == "__main__":
    unittest.main()
