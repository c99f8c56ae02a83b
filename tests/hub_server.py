"""A local server with the endpoints of the Hugging Face hub that downloads and uploads use; repositories lie in folders."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def commit_of(folder: Path) -> str:
    """A hash of all files, as a commit has one."""
    digest = hashlib.sha1()
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class _Handler(BaseHTTPRequestHandler):
    root: Path
    log: list[str]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: Any) -> None: ...

    def _answer(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _missing(self, code: str) -> None:
        self._answer({"error": code}, 404, {"X-Error-Code": code})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.log.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        if path == "/api/whoami-v2":
            self._answer({"name": "owner", "type": "user", "orgs": []})
            return
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(?:revision|tree)/([^/]+))?/?", path):
            self._repository(self.root / found[1], found[2], is_tree="/tree/" in path)
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(self.root / found[1], found[2], found[3])
        else:
            self._missing("EntryNotFound")

    def _repository(self, folder: Path, revision: str | None, *, is_tree: bool) -> None:
        if not folder.is_dir():
            self._missing("RepoNotFound")
            return
        sha = commit_of(folder)
        if revision not in (None, "main", sha):
            self._missing("RevisionNotFound")
            return
        files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        if is_tree:
            rows = [
                {"type": "file", "path": name, "size": (folder / name).stat().st_size, "oid": _etag(folder / name)}
                for name in files
            ]
            self._answer(rows)
            return
        name = f"{folder.parent.name}/{folder.name}"
        siblings = [{"rfilename": file} for file in files]
        self._answer(
            {
                "id": name,
                "modelId": name,
                "sha": sha,
                "private": False,
                "siblings": siblings,
                "tags": [],
                "downloads": 0,
                "likes": 0,
            }
        )

    def _file(self, folder: Path, revision: str, name: str) -> None:
        file = folder / name
        if not file.is_file():
            self._missing("EntryNotFound")
            return
        content = file.read_bytes()
        self._answer(content, headers={"ETag": f'"{_etag(file)}"', "X-Repo-Commit": commit_of(folder)})

    def do_POST(self) -> None:
        self.log.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = self.path.partition("?")[0]
        if not self.headers.get("Authorization"):
            self._answer({"error": "Invalid username or password."}, 401)
        elif path == "/api/repos/create":
            asked = json.loads(body)
            folder = self.root / asked.get("organization", "owner") / asked["name"]
            is_there = folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            url = f"http://{self.headers['Host']}/{folder.parent.name}/{folder.name}"
            self._answer({"url": url} | ({"error": "exists"} if is_there else {}), 409 if is_there else 200)
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            files = json.loads(body)["files"]
            modes = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None} for each in files]
            self._answer({"files": modes})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            folder = self.root / found[1]
            for line in body.decode().splitlines():
                row = json.loads(line)
                if row["key"] == "file":
                    target = folder / row["value"]["path"]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(base64.b64decode(row["value"]["content"]))
            sha = commit_of(folder)
            self._answer(
                {"commitUrl": f"http://{self.headers['Host']}/{found[1]}/commit/{sha}", "commitOid": sha, "hookOutput": ""}
            )
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        else:
            self._missing("EntryNotFound")


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@contextmanager
def hub(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve the folders OWNER/NAME below `root`; yield the address and the requests so far."""
    log: list[str] = []
    handler = type("Handler", (_Handler,), {"root": root, "log": log})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", log
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
