"""Root file systems of OCI images. Skipped, loudly, where the host does not allow a sandbox."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import re
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest
import sandboxset
from conftest import PATIENCE
from sandboxset import LinuxBackend, PythonRuntime, SandboxSet

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
TAG = "org.opencontainers.image.ref.name"


def blob(layout: Path, data: bytes, kind: str) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs/sha256" / digest).write_bytes(data)
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}


def layer(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o700
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def make_layout(layout: Path, tag: str, files: dict[str, bytes]) -> None:
    (layout / "blobs/sha256").mkdir(parents=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    config = json.dumps({"os": "linux", "architecture": ARCHITECTURE}).encode()
    manifest = {
        "schemaVersion": 2,
        "config": blob(layout, config, "config.v1+json"),
        "layers": [blob(layout, layer(files), "layer.v1.tar+gzip")],
    }
    descriptor = blob(layout, json.dumps(manifest).encode(), "manifest.v1+json")
    index = {"schemaVersion": 2, "manifests": [descriptor | {"annotations": {TAG: tag}}]}
    (layout / "index.json").write_text(json.dumps(index))


def shell_and_libraries() -> dict[str, bytes]:
    """The host's own shell is a small enough image."""
    return contents(["/bin/sh", *libraries("/bin/sh")])


def libraries(*programs: str) -> list[str]:
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(?:=> |^\t)(/\S+) \(", listed, re.MULTILINE)


def contents(paths: list[str]) -> dict[str, bytes]:
    return {path.lstrip("/"): Path(path).read_bytes() for path in paths}


def python_elsewhere() -> dict[str, bytes]:
    """The interpreter of these tests and its standard library, as an image has it that was made by somebody else."""
    program, library = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    extensions = [str(path) for path in library.glob("lib-dynload/*.so")]
    home = f"usr/local/{sys.platlibdir}/{library.name}"
    left_out = {"test", "idlelib", "lib2to3", "ensurepip", "__pycache__", "site-packages", "dist-packages"}
    files = contents(libraries(str(program), *extensions))
    files["usr/local/bin/python3"] = program.read_bytes()
    for path in library.rglob("*"):
        name = path.relative_to(library)
        if path.suffix in {".py", ".so"} and not left_out & set(name.parts):
            files[f"{home}/{name}"] = path.read_bytes()
    return files | {f"{home}/of_the_image.py": b"ANSWER = 42\n"}


@pytest.mark.usefixtures("linux")
def test_a_sandbox_of_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_layout(tmp_path / "layout", "v1", shell_and_libraries() | {"etc/whose": b"the image's\n"})
    monkeypatch.chdir(tmp_path)
    for root in [f"oci:{tmp_path}/layout:v1", "oci:layout:v1", "oci:layout", b"oci:layout:v1"]:
        with (
            SandboxSet(LinuxBackend(image_cache="cache"), root=root) as images,
            images.get_or_create_unpaused() as sandbox,
        ):
            out = sandbox.exec(["/bin/sh", "-c", "read line < /etc/whose; echo $line; echo /usr/*/python3"])
            assert out.stdout == "the image's\n/usr/*/python3\n", out.stderr
    assert [path.name.partition("-")[0] for path in (tmp_path / "cache").iterdir()] == ["sha256"]


@pytest.mark.usefixtures("linux")
def test_a_python_runtime_is_that_of_the_image(tmp_path: Path) -> None:
    make_layout(tmp_path / "layout", "v1", python_elsewhere())
    app = tmp_path / "app"
    app.mkdir()
    (app / "app.py").write_text(
        "import sys\nWARM = 'of_the_image' in sys.modules\nimport of_the_image\n"
        "def handle(request):\n    return [sys.prefix, of_the_image.ANSWER, WARM]\n"
    )
    tmp_path.chmod(0o755)
    backend = LinuxBackend(image_cache=tmp_path / "cache")
    root = f"oci:{tmp_path}/layout:v1"
    handler = PythonRuntime(handler="app:handle", json=True)
    with (
        SandboxSet(backend, root=root, runtime=PythonRuntime(preload=["of_the_image"])) as parents,
        SandboxSet(backend, root=root, runtime=handler, code_dir=app, parent=parents) as forked,
        SandboxSet(backend, root=root, runtime=handler, code_dir=app) as created,
    ):
        for pool, warm in ((forked, True), (created, False)):
            with pool.get_or_create_unpaused(timeout=PATIENCE) as sandbox:
                assert sandbox.call_json(None) == ["/usr/local", 42, warm]


def test_a_bad_image_is_refused(tmp_path: Path) -> None:
    make_layout(tmp_path / "layout", "evil", {"../escaped": b"x"})
    backend = LinuxBackend(image_cache=tmp_path / "cache")
    for tag, message in [("evil", r"layer 1 .*escaped"), ("good", "available: evil")]:
        with pytest.raises(sandboxset.InvalidArgumentError, match=message) as caught:
            SandboxSet(backend, root=f"oci:{tmp_path}/layout:{tag}")
        assert caught.value.field == "root"
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.raises(sandboxset.InvalidArgumentError, match="image_cache"):
        LinuxBackend(image_cache="")
