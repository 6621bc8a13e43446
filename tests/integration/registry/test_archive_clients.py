"""A version moves between two real registries by the SDK and by the command line, in constant memory."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from onnx import helper, numpy_helper

from services.kernel.artifacts import blob_key
from tests.graphs import classifier, one_op
from tests.registry_process import RegistryProcess
from trimtab import AsyncClient, Client
from trimtab.errors import Conflict, InvalidInput, NotFound, Unavailable

BIG_BYTES = 192 << 20


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    with RegistryProcess(tmp_path_factory.mktemp("here")) as process:
        yield process


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    with RegistryProcess(tmp_path_factory.mktemp("there")) as process:
        yield process


def registered(registry: RegistryProcess, model_id: str, seed: int = 0) -> str:
    answer = httpx.post(
        f"{registry.url}/mlops/models",
        data={"metadata": json.dumps({"model_id": model_id, "metrics": {"accuracy": 0.9}})},
        files={"model": ("model.onnx", classifier(seed).SerializeToString())},
        trust_env=False,
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["version"])


def test_the_client_moves_a_version(here: RegistryProcess, there: RegistryProcess, tmp_path: Path) -> None:
    version = registered(here, "threats")
    path = tmp_path / "threats.tar"
    heard: list[tuple[int, int]] = []
    with Client(here.url) as source, Client(there.url) as target:
        size = source.export_model("threats", version, path, on_progress=lambda *done: heard.append(done))
        assert (size, heard[-1]) == (path.stat().st_size, (size, size))
        heard.clear()
        found = target.import_model(path, on_progress=lambda *done: heard.append(done))
        assert (found["created"], found["stage"], heard[-1]) == (True, "draft", (size, size))
        assert target.manifest("threats", version) == source.manifest("threats", version)
        assert target.import_model(str(path))["created"] is False


async def test_the_asynchronous_client_moves_a_version(
    here: RegistryProcess, there: RegistryProcess, tmp_path: Path
) -> None:
    version = await asyncio.to_thread(registered, here, "async")
    path = tmp_path / "async.tar"
    async with AsyncClient(here.url) as source, AsyncClient(there.url) as target:
        assert await source.export_model("async", version, path) == path.stat().st_size
        assert (await target.import_model(path))["version"] == version


def test_what_cannot_be_moved_says_why(here: RegistryProcess, there: RegistryProcess, tmp_path: Path) -> None:
    version = registered(here, "conflicts", 1)
    registered(there, "conflicts", 2)
    path = tmp_path / "conflicts.tar"
    with Client(here.url) as source, Client(there.url) as target:
        with pytest.raises(NotFound):
            source.export_model("conflicts", "9.9.9", path)
        assert not list(tmp_path.iterdir())
        with pytest.raises(InvalidInput, match="can't be written"):
            source.export_model("conflicts", version, tmp_path / "no" / "folder.tar")
        with pytest.raises(InvalidInput, match="can't be read"):
            target.import_model(path)
        source.export_model("conflicts", version, path)
        with pytest.raises(Conflict, match="something else"):
            target.import_model(path)


def test_a_damaged_version_leaves_no_file(
    here: RegistryProcess, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data_dir = tmp_path_factory.mktemp("damaged")
    with RegistryProcess(data_dir) as registry, Client(registry.url) as client:
        version = registered(registry, "damaged")
        (file,) = client.version("damaged", version)["files"]
        blob = data_dir / "artifacts" / blob_key(file["sha256"])
        blob.chmod(0o644)
        blob.write_bytes(bytes(file["size"]))
        with pytest.raises(Unavailable, match="broke"):
            client.export_model("damaged", version, tmp_path / "damaged.tar")
        assert not list(tmp_path.iterdir())


def trimtab(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("trimtab")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_commands_move_a_version(here: RegistryProcess, there: RegistryProcess, tmp_path: Path) -> None:
    version = registered(here, "commands")
    path = str(tmp_path / "commands.tar")
    done = trimtab("models", "export", "commands", version, path, "--url", here.url, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bytes"] == Path(path).stat().st_size
    assert (
        json.loads(done.stderr.splitlines()[-1])["bytes"] == Path(path).stat().st_size
    )  # progress, without a terminal
    done = trimtab("models", "import", path, "--url", there.url, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["created"] is True
    done = trimtab("models", "import", path, "--url", there.url)
    assert "was here already" in done.stdout
    done = trimtab("models", "import", path, "--model-id", "other", "--url", there.url)
    assert (done.returncode != 0, "leave out --model-id" in done.stderr) == (True, True)


def test_memory_does_not_grow_with_the_version(here: RegistryProcess, there: RegistryProcess, tmp_path: Path) -> None:
    """192 MiB of weights; neither process holds more than a fraction of them at any moment."""
    weights = np.zeros((1, BIG_BYTES // 4), np.float32)
    nodes = helper.make_node("Gather", ["w", "i"], ["g"], axis=1)
    model = one_op(nodes, initializers=(numpy_helper.from_array(weights, "w"),))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "i"))
    model.graph.node.append(helper.make_node("Mul", ["x", "g"], ["y"]))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with Client(here.url) as source, Client(there.url) as target:
        version = source.register_model(tmp_path / "model.onnx", model_id="big")["version"]
        before = (here.resident_bytes(), there.resident_bytes())
        peaks, stop = [0, 0], threading.Event()

        def watch() -> None:
            while not stop.wait(0.01):
                peaks[:] = [max(peaks[0], here.resident_bytes()), max(peaks[1], there.resident_bytes())]

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            size = source.export_model("big", version, tmp_path / "big.tar")
            assert target.import_model(tmp_path / "big.tar")["created"]
        finally:
            stop.set()
            watcher.join()
    assert size > BIG_BYTES
    assert [peak - was < 48 << 20 for peak, was in zip(peaks, before, strict=True)] == [True, True], (peaks, before)
