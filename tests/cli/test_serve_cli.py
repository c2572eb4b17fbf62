# SPDX-License-Identifier: Apache-2.0
"""Command line of the server: settings from flags, environment and file, --check-config, keys, start and end."""
import http.client
import json
import os
import pwd
import re
import signal
import socket
import subprocess
import unittest

from harness import BINARY, CliTest, environment, run, start

YAML = """\
profile: 32gb
model: {name: demo, alias: emoji}
server:
  port: 0
  timeout: 5
monitoring:
  log_level: warning
"""


def yaml_rows(text):
    """{"section.key": (value, origin)} of `config show`."""
    rows, section = {}, ""
    for line in text.splitlines():
        if re.fullmatch(r"\w+:", line):
            section = line[:-1] + "."
        else:
            match = re.fullmatch(r"(  )?(\w+): (.*)  # (.*)", line)
            rows[(section if match[1] else "") + match[2]] = (match[3], match[4])
    return rows


class Show(CliTest):
    def test_origins(self):
        path = self.path("serve.yaml", YAML)
        env = environment(TKR_PORT="7", TKR_TIMEOUT="6")
        rows = yaml_rows(self.ok("config", "show", "-c", path, "--timeout=7", env=env).decode())
        self.assertEqual(rows["server.port"], ("7", "TKR_PORT"))
        self.assertEqual(rows["server.timeout"], ("7", "--timeout"))
        self.assertEqual(rows["model.alias"], ('"emoji"', path + ":2"))
        self.assertEqual(rows["optimization.cache_size"], ("1000", "profile 32gb"))
        self.assertEqual(rows["model.quantization"], ("q8", "profile 32gb"))
        self.assertEqual(rows["server.host"], ('"127.0.0.1"', "default"))
        self.assertEqual(rows["profile"], ("32gb", path + ":1"))

    def test_json_has_the_same(self):
        path = self.path("serve.yaml", YAML)
        rows = yaml_rows(self.ok("config", "show", "-c", path).decode())
        data = json.loads(self.ok("config", "show", "-c", path, "--json"))
        models = data.pop("models")
        self.assertEqual(models, [])
        self.assertEqual({key: row["origin"] for key, row in data.items()}, {k: row[1] for k, row in rows.items()})
        self.assertEqual(data["server.port"]["value"], 0)
        self.assertEqual(data["server.max_body"]["value"], 32 << 20)
        self.assertIs(data["optimization.use_cache"]["value"], True)
        self.assertIsNone(data["server.socket"]["value"])

    def test_what_is_shown_can_be_read(self):
        shown = self.ok("config", "show", "-c", self.path("serve.yaml", YAML))
        again = self.ok("config", "show", "-c", self.path("again.yaml", shown))
        self.assertEqual({k: v[0] for k, v in yaml_rows(shown.decode()).items()},
                         {k: v[0] for k, v in yaml_rows(again.decode()).items()})

    def test_config_in_the_environment(self):
        path = self.path("serve.yaml", YAML)
        rows = yaml_rows(self.ok("config", "show", env=environment(TKR_CONFIG=path)).decode())
        self.assertEqual(rows["server.port"], ("0", path + ":4"))

    def test_no_secrets(self):
        path = self.path("serve.yaml", "auth: {api_key: hush-hush}\noptimization: {cache_url: 'redis://:hush@h:1/0'}\n")
        for args in ((), ("--json",)):
            self.assertNotIn(b"hush", self.ok("config", "show", "-c", path, *args))
            shown = self.ok("config", "show", "--otlp-endpoint", "https://hush@h:4318/x", *args)
            self.assertIn(b'"https://***@h:4318/x"', shown)
            self.assertNotIn(b"hush", shown)

    def test_usage(self):
        self.fails(2, "config", says="Expected `config show`")
        self.fails(2, "config", "list", says='unknown word "list"')
        self.fails(2, "config", "show", "x", says='unexpected argument "x"')


class Check(CliTest):
    def check(self, *args, **options):
        return self.ok("serve", "--check-config", *args, **options)

    def test_ok(self):
        self.assertEqual(self.check("-c", self.path("serve.yaml", YAML)), b"ok\n")
        self.assertEqual(self.check(), b"ok\n")

    def test_mistakes(self):
        for content, says in (
                ("server:\n  prot: 1\n", ':2: unknown key "prot" in section "server", did you mean "port"?'),
                ("serve:\n  port: 1\n", ':1: unknown section "serve", did you mean "server"?'),
                ("server:\n  port: 99999\n", ':2: server.port is "99999", expected a whole number from 0 to 65535'),
                ("server:\n  tls_certificate: c\n  tls_key: /no/such\n", "No such file"),
                ("server:\n  user: no-such-user\n", ':2: server.user: no user "no-such-user"'),
                ("server:\n  host: 0.0.0.0\n", "there is no API key"),
                ("auth:\n  keys_file: /no/such\n", "there is no keys file"),
                ("a: [\n", ":1: "),):
            with self.subTest(content=content):
                path = self.path("bad.yaml", content)
                self.assertEqual(self.fails(2, "serve", "--check-config", "-c", path, says=says).stdout, b"")

    def test_flags_and_environment(self):
        for args, env, says in (
                (["--port", "x"], {}, '--port is "x", expected a whole number from 0 to 65535'),
                (["--prot", "1"], {}, "unknown option --prot, did you mean --port?"),
                (["--quantization", "q5"], {}, "auto|none|q8|q4"),
                (["--no-jail=1"], {}, "--no-jail takes no value"),
                (["x"], {}, 'unexpected argument "x"'),
                ([], {"TKR_PORT": "x"}, 'TKR_PORT is "x"'),
                ([], {"TKR_CONFIG": "/no/such.yaml"}, "/no/such.yaml: cannot open"),
                ([], {"TKR_MAX_BODY": "lots"}, "TKR_MAX_BODY is \"lots\", expected a size such as 512M")):
            with self.subTest(args=args, env=env):
                self.fails(2, "serve", "--check-config", *args, env=environment(**env), says=says)
        self.fails(2, "embed", "--max-connections", "1", "x", says="not an option of `embed` but of `serve`")

    def test_warnings(self):
        done = run("serve", "--check-config", "--no-jail", "--host", "0.0.0.0", "--insecure-no-auth",
                   env=environment(TKR_API_KEY="short"))
        self.assertEqual((done.returncode, done.stdout), (0, b"ok\n"))
        for word in (b"warning: ", b"without a jail", b"no authentication", b"short enough"):
            self.assertIn(word, done.stderr)

    def test_what_could_not_start(self):
        """Said before anything is opened, by the check and by the start alike."""
        text = self.path("n.txt", "no certificate\n")
        folder = os.path.dirname(text)
        for args, says in (
                (["--tls-certificate", text, "--tls-key", text], "not a certificate chain in PEM"),
                (["--cache-url", "redis://h:99999"], 'optimization.cache_url is no "redis://'),
                (["--cache-url", "redis://:pw@h/abc"], 'optimization.cache_url is no "redis://'),
                (["--device", "cuda"], 'device "cuda" is unknown; known: auto, cpu, gpu'),
                (["--cpu", "foo"], 'CPU level "foo" is unknown'),
                (["--pooling", "blah"], 'unknown pooling "blah"; known: cls'),
                (["--log-file", folder], f"--log-file: {folder} is a folder"),
                (["--admin-socket", folder], f"--admin-socket: {folder} is a folder")):
            for more in (["--check-config"], ["--port", "0"]):
                with self.subTest(args=args, more=more):
                    self.fails(2, "serve", *more, *args, says=says)
        self.fails(2, "serve", "--check-config", env=environment(TKR_API_KEY="***"), says="that config show prints")
        done = run("serve", "--check-config", "--log-file", "/no/such/log", "--admin-socket", "/nor/this/s")
        self.assertEqual((done.returncode, done.stdout), (0, b"ok\n"))
        self.assertIn(b"warning: --log-file: there is no folder /no/such", done.stderr)
        self.assertIn(b"warning: --admin-socket: there is no folder /nor/this", done.stderr)
        done = run("serve", "--check-config", env=environment(TKR_API_KEY="secret1,,b"))
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"TKR_API_KEY has nothing before or behind a comma", done.stderr)
        self.assertNotIn(b"secret1", done.stderr)

    def test_models(self):
        """What the start would say of a model that isn't there; no network is asked."""
        nowhere, file = self.path("no-such-model"), self.path("model.gguf", "no such thing\n")
        folder = os.path.dirname(file)
        hub = {**environment(HF_HUB_CACHE=os.path.join(folder, "hub")), "HF_HUB_OFFLINE": "0",
               "HF_ENDPOINT": "http://127.0.0.1:9"}
        wrong = ((nowhere, f"{nowhere}: no such folder or file; give a model's folder, a GGUF file, an id"),
                 ("./nowhere", "./nowhere: no such folder or file"), (file, f"{file}: is a file, but no GGUF file"),
                 ("nosuchmodel", '"nosuchmodel" is neither a folder, an alias nor an id org/name'),
                 ("minlm", '"minlm" is neither a folder, an alias nor an id org/name; did you mean "minilm"'))
        for name, says in wrong:
            with self.subTest(name=name):
                self.assertEqual(self.fails(2, "serve", "--check-config", "-m", name, env=hub, says=says).stdout, b"")
                done = run("serve", "-q", "-p", "0", "-m", name, env=hub)
                self.assertEqual(done.returncode, 1)
                self.assertIn(f"tkr-embed: serve: {says}".encode(), done.stderr)
                path = self.path("serve.yaml", f"model: {{name: {name}}}\n")
                self.fails(2, "serve", "--check-config", "-c", path, env=hub, says=says)
                path = self.path("serve.yaml", f"models:\n  - name: demo\n  - {{name: {name}, alias: b}}\n")
                self.fails(2, "serve", "--check-config", "-c", path, env=hub, says=f"{path}:3: {says}")
                path = self.path("serve.yaml", f"models:\n  - name: demo\n  - {{name: {name}, lazy: true}}\n")
                done = run("serve", "--check-config", "-c", path, env=hub)
                self.assertEqual((done.returncode, done.stdout), (0, b"ok\n"))
                self.assertIn(f"warning: {path}:3: {says}".encode(), done.stderr)
        for name in ("minilm", "Some-Org/some.model", "Some-Org/some.model@v1", folder):
            self.assertEqual(self.check("-m", name, env=hub), b"ok\n")
        self.fails(2, "serve", "--check-config", "-m", "minilm", "--offline", env=hub, says="go online and run")

    def test_readable_secrets(self):
        path = self.path("serve.yaml", "auth: {api_key: a-key-that-is-long-enough}\n")
        os.chmod(path, 0o644)
        self.assertIn(b"others can read the configuration file", run("serve", "--check-config", "-c", path).stderr)
        os.chmod(path, 0o600)
        self.assertNotIn(b"others can read", run("serve", "--check-config", "-c", path).stderr)


class Keys(CliTest):
    def test_life(self):
        file = self.path("keys")
        alice = self.ok("key", "new", "alice", "--keys-file", file).decode().strip()
        self.assertRegex(alice, r"^tkr_[A-Za-z0-9]{40}$")
        self.ok("key", "new", "ops", "--keys-file", file, "--scopes", "metrics,admin", "--limit-requests", "60",
                "--limit-tokens", "1000000")
        self.assertEqual(os.stat(file).st_mode & 0o777, 0o600)
        with open(file, encoding="ascii") as text:
            self.assertNotIn(alice[4:], text.read())
        table = self.ok("key", "list", "--keys-file", file).decode().splitlines()
        self.assertEqual(table[0].split(), ["NAME", "SCOPES", "REQUESTS/MIN", "TOKENS/MIN", "CREATED"])
        self.assertEqual(table[2].split()[:4], ["ops", "metrics,admin", "60", "1,000,000"])
        keys = json.loads(self.ok("key", "list", "--json", env=environment(TKR_KEYS_FILE=file)))["keys"]
        self.assertEqual([key["name"] for key in keys], ["alice", "ops"])
        self.assertEqual(keys[1]["requests_per_minute"], 60)
        self.assertEqual(run("serve", "--check-config", "--host", "0.0.0.0", "--keys-file", file).stdout, b"ok\n")
        self.ok("key", "revoke", "alice", "--keys-file", file)
        config = self.path("serve.yaml", f"auth: {{keys_file: {file}}}\n")
        left = json.loads(self.ok("key", "list", "--json", "-c", config))["keys"]
        self.assertEqual([key["name"] for key in left], ["ops"])

    def test_owners(self):
        """Root's file with the service's group, as scripts/install makes it; and a file of the user to become."""
        file = self.path("keys")
        self.ok("key", "new", "alice", "--keys-file", file)
        os.chmod(file, 0o640)
        self.assertNotIn(b"others can read", run("serve", "--check-config", "--keys-file", file).stderr)
        os.chmod(file, 0o644)
        self.assertIn(b"others can read the keys file", run("serve", "--check-config", "--keys-file", file).stderr)
        if os.geteuid() != 0:
            return
        nobody = pwd.getpwnam("nobody")
        os.chmod(file, 0o640)
        os.chown(file, 0, nobody.pw_gid)
        self.ok("key", "new", "bob", "--keys-file", file)
        self.ok("key", "revoke", "alice", "--keys-file", file)
        self.assertIn(b"bob", self.ok("key", "list", "--keys-file", file))
        look = os.stat(file)
        self.assertEqual((look.st_uid, look.st_gid, look.st_mode & 0o777), (0, nobody.pw_gid, 0o640))
        os.chmod(file, 0o600)
        os.chown(file, nobody.pw_uid, nobody.pw_gid)
        self.ok("serve", "--check-config", "--keys-file", file, "--user", "nobody")
        self.fails(2, "serve", "--check-config", "--keys-file", file,
                   says="keys: this keys file belongs to another user; chown root makes it safe")
        os.chmod(file, 0o620)
        self.fails(2, "serve", "--check-config", "--keys-file", file, "--user", "nobody", says="others may write")

    def test_mistakes(self):
        file = self.path("keys")
        self.ok("key", "new", "alice", "--keys-file", file)
        self.fails(1, "key", "new", "alice", "--keys-file", file, says='has a key "alice" already')
        self.fails(1, "key", "revoke", "alce", "--keys-file", file, says='did you mean "alice"?')
        self.fails(1, "key", "new", "a b", "--keys-file", file, says='the name of a key is "a b"')
        self.fails(2, "key", "new", "x", "--keys-file", file, "--scopes", "all", says="some of embed,metrics,admin")
        self.fails(2, "key", "new", "x", says="which file?")
        self.fails(2, "key", "new", "--keys-file", file, says="`key new` takes the name")
        self.fails(2, "key", "list", "x", "--keys-file", file, says="`key list` takes no name")
        self.fails(2, "key", says="Expected `key new`")
        self.fails(2, "key", "new", "x", "--port", "1", says="not an option of `key`")
        os.chmod(file, 0o666)
        self.fails(1, "key", "list", "--keys-file", file, says="others may write this keys file")
        self.fails(1, "key", "list", "--keys-file", self.path("none"), says="none: cannot look at")


class Serve(CliTest):
    def test_start_and_end(self):
        """The address is told when it is listened on, and SIGTERM ends the server with status 0."""
        server = start("serve", "-p", "0", "--log-level", "error", stdin=subprocess.DEVNULL)
        self.addCleanup(server.kill)
        said = []
        for line in server.stderr:
            said.append(json.loads(line)["message"])
            if said[-1].startswith("ready after"):
                break
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(timeout=30), 0)
        self.assertEqual(server.communicate()[0], b"")
        text = "\n".join(said)
        self.assertRegex(text, r"listening on http://127\.0\.0\.1:\d+; a page to try it: http://127\.0\.0\.1:\d+/, ")
        self.assertRegex(text, r"demo: text, image, 144 dimensions, \w+ on \w+, \d+ threads")

    def test_text_lines(self):
        server = start("serve", "-p", "0", "--log-format", "text", "--log-level", "error", stdin=subprocess.DEVNULL)
        self.addCleanup(server.kill)
        for line in server.stderr:
            self.assertRegex(line, rb"^tkr-embed: ")
            if b"ready after" in line:
                break
        server.send_signal(signal.SIGINT)
        self.assertEqual(server.wait(timeout=30), 0)
        server.communicate()

    def activate(self, address, *args):
        """The server with a socket as systemd hands it over."""
        listener = socket.create_server((address, 0))
        self.addCleanup(listener.close)
        env = environment(LISTEN_FDS="1")
        serve = [BINARY, "serve", "--log-level", "error", *args]
        server = subprocess.Popen(["bash", "-c", 'LISTEN_PID=$$ exec "$@"', "-", *serve], env=env,
                                  stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=[3],
                                  preexec_fn=lambda: os.dup2(listener.fileno(), 3, inheritable=True))
        self.addCleanup(server.stderr.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        return server, listener.getsockname()[1]

    def test_socket_activation(self):
        """A connection that was made before the server ran is answered; host and port don't count."""
        server, port = self.activate("127.0.0.1", "--host", "192.0.2.77")
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        client.request("GET", "/health/live")
        self.assertEqual(client.getresponse().status, 200)
        client.close()
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(timeout=30), 0)
        server, _ = self.activate("0.0.0.0")
        self.assertEqual(server.wait(timeout=30), 2)
        self.assertIn(b"there is no API key", server.stderr.read())

    def test_becomes_another_user(self):
        if os.geteuid() != 0:
            self.fails(1, "serve", "-q", "-p", "0", "--user", "root", says="cannot become user \"root\": only root can")
            return
        server = start("serve", "-p", "0", "--user", "nobody", "--log-level", "error", stdin=subprocess.DEVNULL)
        self.addCleanup(server.kill)
        line = server.stderr.readline()
        while b"listening on" not in line:
            self.assertNotEqual(line, b"")
            line = server.stderr.readline()
        with open(f"/proc/{server.pid}/status", encoding="ascii") as file:
            status = dict(line.split(":\t", 1) for line in file)
        ids = set(status["Uid"].split())
        self.assertEqual(len(ids), 1)
        self.assertNotIn("0", ids)
        self.assertEqual(len(set(status["Gid"].split())), 1)
        self.assertNotIn("0", status["Gid"].split() + status["Groups"].split())
        self.assertEqual(int(status["CapEff"], 16), 0)
        server.send_signal(signal.SIGTERM)
        server.communicate()

    def test_cannot_start(self):
        done = run("serve", "-p", "0", "-m", self.path("no-such-model"), "--quiet", "--log-level", "error")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(b"no-such-model", done.stderr)
        self.fails(1, "serve", "-q", "--host", "192.0.2.77", "--insecure-no-auth", says="192.0.2.77")


if __name__ == "__main__":
    unittest.main()
