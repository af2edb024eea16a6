"""A receiver of webhooks."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted to it, and answers as told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[str, str, bytes]] = []
        self.statuses: list[int] = []  # the next answers, then 200
        self.stalls = False

    def url(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}/done?x=1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((self.path, self.headers["host"], body))
        if self.server.stalls:
            for _ in range(100):  # a byte now and then, so that no single read takes long
                sleep(0.05)
                self.wfile.write(b"H")
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        self.send_response(status)
        self.send_header("location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_) -> None:
        pass
