"""Downloads from a server on this machine: whole, continued, refused, changed on the way."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nonlin.errors import TaskError
from nonlin.tasks.pictures import archives
from nonlin.tasks.pictures.archives import RemoteFile, check, fetch

CONTENT = bytes(range(256)) * 40


class Server(ThreadingHTTPServer):
    content, cut, ranges, code = CONTENT, None, True, 200

    def handle_error(self, request, client_address):
        pass  # a broken connection is what is tested


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        begin = int(self.headers["Range"][6:-1]) if server.ranges and self.headers.get("Range") else 0
        if server.code != 200 or begin >= len(server.content):
            self.send_error(server.code if server.code != 200 else 416)
            return
        body = server.content[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if server.cut is None else body[: server.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    one = Server(("127.0.0.1", 0), Handler)
    one.asked = []
    thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield one
    one.shutdown()
    thread.join()
    one.server_close()


def remote(server, content=CONTENT, algorithm="sha256", size=None):
    digest = hashlib.new(algorithm, content).hexdigest()
    url = f"http://127.0.0.1:{server.server_address[1]}/data/file.bin"
    return RemoteFile(url, len(content) if size is None else size, algorithm, digest)


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_whole(server, tmp_path, algorithm, monkeypatch):
    monkeypatch.setattr(archives, "_PIECE", 1000)
    told = []
    path = fetch(remote(server, algorithm=algorithm), tmp_path / "new", told.append)
    assert path == tmp_path / "new" / "file.bin"
    assert path.read_bytes() == CONTENT
    assert told[0] == 1000
    assert told[-1] == len(CONTENT)
    assert [file.name for file in path.parent.iterdir()] == ["file.bin"]
    fetch(remote(server, algorithm=algorithm), tmp_path / "new")
    assert server.asked == [None]  # there already: nobody is asked


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_a_broken_download_goes_on(server, tmp_path, ranges, known):
    server.cut, server.ranges = 3000, ranges
    wanted = remote(server, size=None if known else 0)
    with pytest.raises(TaskError, match="could not be downloaded") as caught:
        fetch(wanted, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "will be continued" in str(caught.value)
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:3000]
    assert not (tmp_path / "file.bin").exists()
    server.cut = None
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=3000-"]
    assert not (tmp_path / "file.bin.part").exists()


def test_a_part_that_is_whole(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == []
    (tmp_path / "file.bin").rename(tmp_path / "file.bin.part")
    assert fetch(remote(server, size=0), tmp_path).read_bytes() == CONTENT  # the server says 416: nothing lies behind


def test_a_wrong_checksum(server, tmp_path):
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(TaskError, match=r"wrong checksum: sha256 .* expected"):
        fetch(remote(server), tmp_path)
    assert not list(tmp_path.iterdir())  # a wrong part would be wrong for ever
    (tmp_path / "file.bin").write_bytes(CONTENT[:500])
    with pytest.raises(TaskError, match=r"It has 500 bytes of 10,240\. Delete it and get it again from http"):
        fetch(remote(server), tmp_path)
    assert (tmp_path / "file.bin").exists()  # the user's file is not ours to delete


def test_refused(server, tmp_path):
    server.code = 404
    with pytest.raises(TaskError, match="could not be downloaded: Not Found"):
        fetch(remote(server), tmp_path)


def test_without_a_network_it_fails_at_once(tmp_path):
    nobody = RemoteFile("http://127.0.0.1:9/file.bin", 1, "md5", "0")
    with pytest.raises(TaskError, match=r"127.0.0.1:9/file.bin could not be downloaded: .*refused.*put it into"):
        fetch(nobody, tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TaskError, match="cannot write"):
        fetch(RemoteFile("http://127.0.0.1:9/file.bin", 1, "md5", "0"), tmp_path / "file")


def test_check(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    known = RemoteFile("https://x/a", 3, "md5", "900150983cd24fb0d6963f7d28e17f72")  # RFC 1321
    check(tmp_path / "a", known)
