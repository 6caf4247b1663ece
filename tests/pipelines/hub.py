# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stand-in for the model hub on loopback: any repository, any file, whose contents follow from its name.

hub.py FOLDER: writes its port to FOLDER/port, and a line for each request to FOLDER/requests. While FOLDER/spoil
exists, contents and hashes differ; while FOLDER/break exists, a download from the beginning ends in the middle.
"""
import hashlib
import http.server
import os
import re
import sys
import urllib.parse

folder = sys.argv[1]
COMMIT = "c0ffee" * 6 + "c0ff"


def contents(file):
    """The client writes pieces of 10 MiB, so the file that tests a resumed download has several."""
    some = b"".join(hashlib.sha256(b"%d %s" % (i, file.encode())).digest() for i in range(4000))
    return some * (200 if file.endswith(".pth") else 1)


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, headers=(), send=True):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not send:
            return
        if status == 200 and os.path.exists(folder + "/break"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(body)

    def serve(self, send):
        path = urllib.parse.unquote(self.path.split("?")[0])
        with open(folder + "/requests", "a") as log:
            print(self.command, path, self.headers.get("Range", ""), file=log)
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        if not match:
            self.answer(404, b"", send=send)
            return
        body = contents(match[2])
        digest = hashlib.sha256(body).hexdigest()
        if os.path.exists(folder + "/spoil"):
            body = body[:-1] + b"?"
        headers = [("X-Repo-Commit", COMMIT), ("ETag", f'"{digest}"'), ("Accept-Ranges", "bytes")]
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if begin:
            start = int(begin[1])
            headers.append(("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}"))
            self.answer(206, body[start:], headers, send)
        else:
            self.answer(200, body, headers, send)

    def do_GET(self):
        self.serve(True)

    def do_HEAD(self):
        self.serve(False)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
with open(folder + "/port.part", "w") as port:
    print(server.server_port, file=port)
os.rename(folder + "/port.part", folder + "/port")
server.serve_forever()
