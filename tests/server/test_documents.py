# SPDX-License-Identifier: Apache-2.0
"""Against a server with the demo model: the commands of README.md's and docs/api.md's examples are answered, and
docs/api.md names every field that /openapi.json has."""
import os
import re
import shutil
import subprocess
import unittest
from pathlib import Path

from harness import PATIENCE, Server

SOURCE = Path(os.environ["TKR_SOURCE_DIR"])


class Examples(unittest.TestCase):
    def commands(self, name):
        text = (SOURCE / name).read_text(encoding="utf-8")
        for block in re.findall(r"```bash\n(.*?)```", text, re.S):
            yield from (line for line in block.replace("\\\n", " ").splitlines() if line.startswith("curl "))

    def test_curl(self):
        if shutil.which("curl") is None:
            self.skipTest("not run: no curl here")
        with Server() as server:
            env = {**os.environ, "no_proxy": "*"}
            for name, least in (("docs/api.md", 15), ("README.md", 2)):
                commands = list(self.commands(name))
                self.assertGreaterEqual(len(commands), least)
                for command in commands:
                    self.assertIn("http://127.0.0.1:8000/", command)
                    here = command.replace("http://127.0.0.1:8000", server.url)
                    here = re.sub(r"-o (\S+)", rf"-o {server.folder.name}/\1", here)
                    done = subprocess.run(["bash", "-c", here.replace("curl ", "curl -sSf ", 1)], cwd=SOURCE, env=env,
                                          capture_output=True, timeout=PATIENCE, check=False)
                    self.assertEqual(done.returncode, 0, f"{command}\n{done.stderr.decode()}")


def properties(schema):
    """Names of the fields of a schema and of what is in it."""
    if isinstance(schema, list):
        for part in schema:
            yield from properties(part)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "properties":
                yield from value
                yield from properties(list(value.values()))
            elif key not in ("examples", "example", "default", "enum"):
                yield from properties(value)


class Fields(unittest.TestCase):
    def test_each_is_named(self):
        text = (SOURCE / "docs" / "api.md").read_text(encoding="utf-8")
        code = " ".join(re.findall(r"`[^`\n]+`", text))
        words = set(re.findall(r"\w+", code))
        with Server() as server:
            api = server.get("/openapi.json").json()
        n = 0
        for path, methods in api["paths"].items():
            for method, operation in methods.items():
                for name in properties(operation.get("requestBody", {})):
                    self.assertTrue(name in words, f"docs/api.md lacks {name} of {method} {path}")
                    n += 1
        self.assertGreater(n, 100)


if __name__ == "__main__":
    unittest.main()
