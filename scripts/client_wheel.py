"""Builds a wheel that contains only the subscriber library; ``scripts/client-wheel`` runs this script."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import zipfile
from importlib.metadata import metadata
from pathlib import Path

from edge_infer import __version__

ROOT = Path(__file__).resolve().parents[1]
NAME = "edge_infer_client"
NEEDS = ("paho-mqtt", "msgspec")
LIST = """
import sys
import edge_infer.client, edge_infer.client.async_client, edge_infer.messages
print(*(module.__file__ for name, module in sorted(sys.modules.items()) if name.partition(".")[0] == "edge_infer"))
"""
README = """\
# edge-infer-client

Subscriber library for devices with edge-infer: `from edge_infer.client import Client, AsyncClient`. It needs paho-mqtt
and msgspec. The package edge-infer contains it, too: install one of the two, not both.
"""


def main() -> None:
    """Write the wheel into the folder that the command line names, and print its path."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}-{__version__}-py3-none-any.whl"
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in content().items():
            wheel.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(data)}")
        info = f"{NAME}-{__version__}.dist-info"
        wheel.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,", ""]))
    print(path)


def content() -> dict[str, bytes]:
    """Return the files of the wheel: the modules that the library imports, and its metadata."""
    listed = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    files = {str(Path(file).relative_to(ROOT)): Path(file).read_bytes() for file in listed.split()}
    files["edge_infer/py.typed"] = b""
    info = f"{NAME}-{__version__}.dist-info"
    product = metadata("edge-infer")
    needs = [each for each in product.get_all("Requires-Dist") or () if each.startswith(NEEDS)]
    head = [
        "Metadata-Version: 2.1",
        "Name: edge-infer-client",
        f"Version: {__version__}",
        "Summary: Subscriber library for devices with edge-infer.",
        "License: Apache-2.0",
        f"Requires-Python: {product['Requires-Python']}",
        *(f"Requires-Dist: {each}" for each in needs),
        "Description-Content-Type: text/markdown",
    ]
    files[f"{info}/METADATA"] = "\n".join([*head, "", README]).encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: client-wheel\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    return files


if __name__ == "__main__":
    main()
