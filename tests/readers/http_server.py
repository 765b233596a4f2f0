"""A real HTTP camera for tests: ``http_server.py PORT``; a Motion JPEG stream at /stream, a picture at /picture.

/picture.webp and /picture.png have other formats. The stated type of /picture.png is wrong, that of /picture.bin says
nothing, and /page is no picture.

Prints ``ready``. The line ``still`` on standard input makes all pictures the same, ``moving`` different ones again.
"""

from __future__ import annotations

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

FPS = 15
chance = np.random.default_rng(20261127)
pictures = [cv2.imencode(".jpg", chance.integers(0, 255, (240, 320, 3), np.uint8))[1].tobytes() for _ in range(FPS)]
WEBP = cv2.imencode(".webp", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
PNG = cv2.imencode(".png", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
KINDS = {
    "/stream": "multipart/x-mixed-replace; boundary=frame",
    "/picture.webp": "image/webp",
    "/picture.bin": "application/octet-stream",
    "/page": "text/html",
}
still = threading.Event()


def picture() -> bytes:
    return pictures[0 if still.is_set() else int(time.monotonic() * FPS) % len(pictures)]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", KINDS.get(self.path, "image/jpeg"))
        self.end_headers()
        bodies = {"/picture.webp": WEBP, "/picture.png": PNG, "/page": b"<html>Log in</html>"}
        try:
            self._stream() if self.path == "/stream" else self.wfile.write(bodies.get(self.path) or picture())
        except OSError:
            self.close_connection = True  # the reader hung up, as it may

    def _stream(self) -> None:
        while True:
            body = picture()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
            self.wfile.write(head.encode() + body + b"\r\n")
            self.wfile.flush()
            time.sleep(1 / FPS)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    daemon_threads = True


def main() -> None:
    server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "still":
            still.set()
        else:
            still.clear()


if __name__ == "__main__":
    main()
