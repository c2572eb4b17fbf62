#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Codecs are linked into tkr-decode, tkr-decode-video and tkr-decode-document and into nothing else: not into the
program, not the library. Pictures don't wait for the libraries of FFmpeg and poppler to load."""
import os
import subprocess
import sys
from pathlib import Path

CODECS = ("libjpeg", "libpng", "libwebp", "libtiff", "libgif", "libav", "libsw", "libheif", "libpoppler", "libseccomp",
          "libarchive", "libxml2", "libicu", "libcairo")


def loaded(path):
    """Names of all shared objects that come with this file."""
    text = subprocess.run(["ldd", str(path)], check=True, capture_output=True, text=True).stdout
    return [line.split()[0].rpartition("/")[2] for line in text.splitlines() if line.strip()]


def main():
    build = Path(os.environ["TKR_BUILD_DIR"])
    for name in ("tkr-embed", "libtkr.so"):
        path = build / name
        libraries = loaded(path)
        assert libraries, f"{path}: nothing is linked"
        found = [library for library in libraries if library.startswith(CODECS)]
        assert not found, f"{path} links {', '.join(found)}"
    libraries = loaded(build / "tkr-decode")
    for codec in ("libjpeg", "libpng", "libwebp", "libtiff"):
        assert any(library.startswith(codec) for library in libraries), f"tkr-decode doesn't link {codec}"
    for other in ("libpoppler", "libicu", "libxml2"):
        assert not any(library.startswith(other) for library in libraries), f"tkr-decode links {other}"
    assert any(library.startswith("libpoppler") for library in loaded(build / "tkr-decode-document"))
    for other in ("libcurl", "libpcre2", "libtkr"):
        assert not any(library.startswith(other) for library in libraries), f"tkr-decode links {other}"
    assert not any(library.startswith(("libav", "libsw")) for library in libraries), "tkr-decode links FFmpeg"
    libraries = loaded(build / "tkr-decode-video")
    for codec in ("libavformat", "libavcodec", "libswscale"):
        assert any(library.startswith(codec) for library in libraries), f"tkr-decode-video doesn't link {codec}"
    symbols = subprocess.run(["nm", "-D", str(build / "libtkr.so")], check=True, capture_output=True, text=True).stdout
    assert "jpeg_" not in symbols and "png_" not in symbols


if __name__ == "__main__":
    sys.exit(main())
