"""Staging of files, against a server in this process;
the commands bench.prepare and bench.doctor.
"""

import hashlib
import http.server
import io
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from bench.commands import prepare
from bench.core.store import staging
from bench.core.store.staging import Resource, fetch, recorded_hash, require
from bench.doctor import DOCTOR
from bench.machine import readiness
from bench.machine.resources import VAE_FILES
from bench.prepare import PREPARE


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path.endswith("cut.bin"):  # says more than it sends
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"short")
            return
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    """A web server of tmp_path/web; .url, .asked (paths that were downloaded)."""
    (tmp_path / "web").mkdir()
    httpd = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "web"))
    )
    httpd.asked = []
    httpd.url = f"http://127.0.0.1:{httpd.server_port}"
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield httpd
    httpd.shutdown()
    httpd.server_close()


def test_a_file_is_fetched_once_by_whoever_asks_and_its_hash_is_written_down(server, tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "web" / "a.pth").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    resource = Resource(
        "weights", tmp_path / "hub" / "a.pth", f"{server.url}/a.pth", sha256=digest[:8]
    )
    with ThreadPoolExecutor(4) as pool:
        places = list(pool.map(lambda _: fetch(resource), range(4)))
    assert server.asked == ["/a.pth"] and set(places) == {resource.path}
    assert resource.path.read_bytes() == content
    assert recorded_hash(resource.path) == digest
    assert not list((tmp_path / "hub").glob(".*.tmp"))


@pytest.mark.parametrize(
    ("file", "sha256", "message"),
    [("cut.bin", "", "bytes came"), ("b.bin", "00000000", "SHA-256"), ("absent", "", "404")],
)
def test_half_a_file_or_another_file_is_not_kept(server, tmp_path, file, sha256, message):
    (tmp_path / "web" / "b.bin").write_bytes(b"content")
    resource = Resource("weights", tmp_path / "hub" / file, f"{server.url}/{file}", sha256=sha256)
    with pytest.raises(ValueError, match=message):
        fetch(resource)
    assert [
        path.name for path in (tmp_path / "hub").iterdir() if not path.name.endswith(".lock")
    ] == []


def test_an_archive_becomes_its_folder(server, tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("dinov2-1a2b/hubconf.py", "dependencies = []")
    folder = tmp_path / "web" / "dinov2" / "archive"
    folder.mkdir(parents=True)
    (folder / "1a2b.zip").write_bytes(packed.getvalue())
    url = f"{server.url}/dinov2/archive/1a2b.zip"
    resource = Resource("code", tmp_path / "hub" / "code_1a2b", url, archive=True)
    require([resource], "encoder x", "encoder=x")
    assert (resource.path / "hubconf.py").read_text() == "dependencies = []"
    assert staging.archive_folder(url) == "dinov2-1a2b" and "mv" in staging.command(resource)


def test_what_is_there_is_not_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "unreachable", lambda url: pytest.fail("asked the network"))
    (tmp_path / "elsewhere").write_bytes(b"x")
    require(
        [Resource("w", tmp_path / "a", "http://127.0.0.1:9/a", also=(tmp_path / "elsewhere",))],
        "e",
        "encoder=e",
    )


def test_a_closed_door_is_an_answer():
    assert "127.0.0.1" in staging.unreachable("http://127.0.0.1:9/a")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for module in (staging, prepare):
        monkeypatch.setattr(module, "unreachable", lambda url, seconds=0: "no network in tests")


def test_prepare_says_that_there_is_nothing_to_stage(capsys):
    for words in (["dry_run=true"], ["inception=false"]):
        assert PREPARE.main(words) == 0
        assert "nothing to stage: give encoder=NAME, metrics=NAME" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"encoder=timm needs a model: encoder\.name="):
        PREPARE.main(["encoder=timm", "dry_run=true"])


def test_prepare_says_what_is_missing_and_how_to_fetch_it(offline, tmp_path, capsys):
    words = [
        "encoder=dinov2_g,local_s",
        "reference=imagenet256",
        "vae=ema",
        f"cache={tmp_path}",
        "dry_run=true",
    ]
    assert PREPARE.main(words) == 1
    out = capsys.readouterr().out
    assert out.count("missing") == 5 and "dinov2_vitg14_pretrain.pth" in out and "local_s" in out
    assert PREPARE.main(["vae=ema", f"cache={tmp_path}"]) == 1
    for name in VAE_FILES:
        place = tmp_path / "vae" / "sd-vae-ft-ema" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("x")
    assert PREPARE.main(["vae=ema", f"cache={tmp_path}"]) == 0
    place.with_name(f"{place.name}.sha256").write_text(f"{'0' * 64}  {place.name}\n")
    assert PREPARE.main(["vae=ema", f"cache={tmp_path}"]) == 1
    assert "does not have the SHA-256 beside it" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["vae=x"], ["reference=lsun"], ["seed=1"], ["encoder=dinov2_h"], ["inception=maybe"]]
)
def test_prepare_refuses_what_it_does_not_know(offline, words):
    with pytest.raises(ValueError):
        PREPARE.main(words)


def test_doctor_tells_what_could_run_here(offline, tmp_path, capsys):
    runs = f"runs={tmp_path}"
    assert DOCTOR.main(["method=vanilla", runs]) == 0
    assert "1197 training" in capsys.readouterr().out
    assert DOCTOR.main(["method=repa", "encoder=dinov2_s", runs]) == 1
    assert "lacks the code of DINOv2" in capsys.readouterr().out
    assert DOCTOR.main(["data=folder", f"data.root={tmp_path / 'nowhere'}", runs]) == 1
    with pytest.raises(ValueError, match="did you mean"):
        DOCTOR.main(["method=vanila"])


def test_doctor_lists_every_encoder(offline, capsys):
    from bench.config.groups import options

    assert DOCTOR.main([]) == 0
    out = capsys.readouterr().out
    assert all(f"encoder {name} " in out for name in options("encoder"))
    assert all(f"metric {name} " in out for name in ("fvd_videomae", "fad_clap_music"))


def test_doctor_looks_for_what_a_run_is_measured_with(offline, tmp_path, capsys):
    words = ["data=digits", f"runs={tmp_path}", "evaluation.metrics=[heldout_loss,fad_clap_audio]"]
    assert DOCTOR.main(words) == 1
    out = capsys.readouterr().out
    assert "lacks CLAP's 630k-audioset-best.pt: python -m bench.prepare metrics=" in out
    of_fid = ["data=digits", f"runs={tmp_path}", "evaluation.metrics=[fid]"]
    assert DOCTOR.main(of_fid) == 1 and "lacks Inception's weights" in capsys.readouterr().out
    assert DOCTOR.main([*of_fid, f"evaluation.settings={{inception: {tmp_path}/own.pth}}"]) == 0
    assert DOCTOR.main([*words, "measure=none"]) == 0
    assert "CLAP" not in capsys.readouterr().out.partition("This run")[2]
    assert DOCTOR.main(["data=digits", f"runs={tmp_path}", "evaluation.encoders=[clip_l]"]) == 1
    assert "python -m bench.prepare encoder=clip_l" in capsys.readouterr().out


def test_memory_and_disk_are_measured_against_the_run(monkeypatch, tmp_path):
    from bench.config.compose import compose

    cfg = compose(["method=vanilla", f"runs={tmp_path}"])
    monkeypatch.setattr(readiness, "memory_bytes", lambda: (10**9, 10**9))
    memory, *_ = readiness.room(cfg, 100_000_000)
    assert memory.state == "missing" and "2.0 GB" in memory.says
    monkeypatch.setattr(
        readiness.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 10**9})()
    )
    assert [f.state for f in readiness.room(cfg, 100_000_000) if f.what == "disk"] == ["missing"]
