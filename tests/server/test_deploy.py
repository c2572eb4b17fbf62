# SPDX-License-Identifier: Apache-2.0
"""deploy/ and scripts/install against the program: every setting, path, flag and metric that they name is there. Files
are read by the programs that they are for where these are installed; nothing is deployed."""
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from harness import BINARY, Server, cli, environment

SOURCE = Path(os.environ["TKR_SOURCE_DIR"])
DEPLOY = SOURCE / "deploy"
FILES = [path for folder in ("compose", "docker", "kubernetes", "systemd")
         for path in sorted((DEPLOY / folder).rglob("*")) if path.is_file()] + [SOURCE / "scripts" / "install"]


def text_of(*names):
    return DEPLOY.joinpath(*names).read_text(encoding="utf-8")


def documents(path):
    try:
        import yaml
    except ImportError:
        raise unittest.SkipTest("not run: Python has no yaml module") from None
    with open(path, encoding="utf-8") as file:
        return list(yaml.safe_load_all(file))


class Settings(unittest.TestCase):
    """Names of the server's settings, from the table that the program prints."""
    flags, variables = set(), set()

    @classmethod
    def setUpClass(cls):
        for line in cli.run("--generate", "settings").stdout.decode().splitlines():
            cells = [cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if len(cells) == 5 and "." in cells[0] or cells[0] == "profile":
                cls.flags.add(cells[1].split(" ")[0])
                cls.variables.add(cells[2])
        cls.flags |= {"--config", "--check-config"}
        assert len(cls.flags) > 50 and "TKR_PORT" in cls.variables

    def test_variables(self):
        for path in FILES:
            for name in re.findall(r"TKR_[A-Z_]+", path.read_text(encoding="utf-8")):
                self.assertIn(name, self.variables, path)

    def test_flags(self):
        """Of each line that starts the server."""
        n = 0
        for path in FILES:
            for line in path.read_text(encoding="utf-8").splitlines():
                if re.search(r"(\bserve\b|\"serve\").*--", line) and not line.startswith("#"):
                    for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", line.split("serve", 1)[1]):
                        self.assertIn(flag, self.flags, path)
                        n += 1
        self.assertGreaterEqual(n, 5)

    def check(self, text):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "serve.yaml"
            path.write_text(text, encoding="utf-8")
            done = cli.run("config", "show", "-c", str(path))
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_configurations(self):
        inner = re.search(r"serve\.yaml: \|\n((?:    .*\n)+)", text_of("kubernetes", "tkr-embed.yaml")).group(1)
        self.check(re.sub(r"(?m)^    ", "", inner))
        script = (SOURCE / "scripts" / "install").read_text(encoding="utf-8")
        inner = re.search(r"<< END\n(.*?)\nEND\n", script, re.S).group(1)
        self.check(inner.replace("$profile", "16gb").replace("$model", "minilm"))

    def test_commands(self):
        for name in re.findall(r'tkr-embed", "([a-z]+)"', text_of("docker", "Dockerfile")):
            self.assertEqual(cli.run(name, "--help").returncode, 0, name)

    def test_paths(self):
        routes = (SOURCE / "src" / "server" / "routes.def").read_text(encoding="utf-8")
        probes = re.findall(r"path: (/[a-z/]+), port", text_of("kubernetes", "tkr-embed.yaml"))
        probes += re.findall(r"uri (/\S+)", text_of("compose", "haproxy.cfg"))
        self.assertEqual(len(probes), 4)
        for path in probes:
            self.assertIn(f'TKR_ROUTE("GET", "{path}"', routes)


class Readable(unittest.TestCase):
    def test_yaml(self):
        for path in FILES:
            if path.suffix in (".yaml", ".yml"):
                for document in documents(path):
                    self.assertIsInstance(document, dict, path)
        kinds = [document["kind"] for document in documents(DEPLOY / "kubernetes" / "tkr-embed.yaml")]
        self.assertEqual(len(kinds), len(set(kinds)))
        self.assertIn("HorizontalPodAutoscaler", kinds)
        compose = documents(DEPLOY / "compose" / "compose.yaml")[0]
        for service in compose["services"].values():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                if source.startswith("."):
                    self.assertTrue((DEPLOY / "compose" / source).is_file(), source)
        scrape = documents(DEPLOY / "compose" / "prometheus.yml")[0]["scrape_configs"][0]
        self.assertEqual({target.split(":")[0] for target in scrape["static_configs"][0]["targets"]},
                         {name for name in compose["services"] if name.startswith("server")})

    def test_haproxy(self):
        program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
        if program is None:
            self.skipTest("not run: no haproxy here")
        done = subprocess.run([program, "-c", "-f", str(DEPLOY / "compose" / "haproxy.cfg")], capture_output=True,
                              text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_prometheus(self):
        if shutil.which("promtool") is None:
            self.skipTest("not run: no promtool here")
        done = subprocess.run(["promtool", "check", "config", str(DEPLOY / "compose" / "prometheus.yml")],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_systemd(self):
        if shutil.which("systemd-analyze") is None:
            self.skipTest("not run: no systemd-analyze here")
        with tempfile.TemporaryDirectory() as folder:
            for name in ("tkr-embed.service", "tkr-embed.socket"):
                text = text_of("systemd", name).replace("/usr/local/bin/tkr-embed", BINARY)
                Path(folder, name).write_text(re.sub(r"(?m)^Documentation=.*\n", "", text), encoding="utf-8")
            done = subprocess.run(["systemd-analyze", "verify", f"{folder}/tkr-embed.service",
                                   f"{folder}/tkr-embed.socket"], capture_output=True, text=True, check=False)
            said = [line for line in done.stderr.splitlines() if "tkr-embed" in line]
            self.assertEqual(said, [])


class Metrics(unittest.TestCase):
    """Names of metrics in the dashboard and in the documentation are those of a running server."""

    @classmethod
    def setUpClass(cls):
        with Server(env=environment()) as server:
            assert server.post("/embed/text", {"texts": ["one", "two"]}).status == 200
            cls.page = server.get("/metrics").body.decode()
        cls.names = set(re.findall(r"(?m)^# TYPE (\S+)", cls.page))

    def test_dashboard(self):
        board = json.loads(text_of("compose", "grafana", "tkr-embed.json"))
        expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
        self.assertGreaterEqual(len(expressions), 15)
        ids = [panel["id"] for panel in board["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        for expression in expressions:
            names = re.findall(r"\b(?:te|tkr)_\w+", expression)
            self.assertTrue(names, expression)
            for name in names:
                self.assertIn(re.sub(r"_(bucket|sum|count)$", "", name) if name not in self.names else name, self.names)
                if name.endswith("_bucket"):
                    self.assertIn(name + "{", self.page)
            for labels in re.findall(r"by \((\w+)\)", expression):
                if labels not in ("instance", "le"):
                    self.assertIn(labels + '="', self.page, expression)

    def test_documentation(self):
        text = (SOURCE / "docs" / "operations.md").read_text(encoding="utf-8")
        listed = set(re.findall(r"(?m)^\| `((?:te|tkr|process)_\w+)`", text))
        self.assertEqual(listed, self.names)

    def test_promtool(self):
        if shutil.which("promtool") is None:
            self.skipTest("not run: no promtool here")
        done = subprocess.run(["promtool", "check", "metrics"], input=self.page, capture_output=True, text=True,
                              check=False)
        self.assertNotIn("error", done.stderr.lower())


if __name__ == "__main__":
    unittest.main()
