"""TensorFlow SavedModels that must not be registered, made by a process of its own.

`python tests/hostile_saved_models.py make FOLDER` writes them; `... check FOLDER` prints what the registry's inspection
says of each, as JSON. Both import TensorFlow.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PLAIN = "plain"


def run(command: str, folder: Path) -> str:
    """What a process of this file prints."""
    known = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "HOME", "PYTHONPATH") if name in os.environ}
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile_saved_models", command, str(folder)],
        cwd=Path(__file__).parents[1],
        env={**known, **quiet},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _programs() -> dict[str, Callable[[Any], Any]]:
    import tensorflow as tf

    word = "/tmp/trimtab-hostile"

    def in_a_branch(x: Any) -> Any:
        return tf.cond(tf.reduce_any(x > 1e9), lambda: tf.strings.length(tf.io.read_file(word)), lambda: 0)

    def in_a_loop(x: Any) -> Any:
        def body(n: Any) -> Any:
            tf.io.write_file(word, "x")
            return (n + 1,)

        return tf.while_loop(lambda n: n < tf.cast(x[0, 0], tf.int32), body, (tf.constant(0),))[0]

    def saves(x: Any) -> Any:
        tf.raw_ops.SaveV2(prefix=word, tensor_names=["x"], shape_and_slices=[""], tensors=[x])
        return x

    def restores(x: Any) -> Any:
        return x + tf.raw_ops.RestoreV2(prefix=word, tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32])[0]

    def prints(x: Any) -> Any:
        tf.print(x, output_stream=f"file://{word}")
        return x

    def reads_lines(x: Any) -> Any:
        lines = tf.data.TextLineDataset(word)
        return x + tf.cast(lines.reduce(tf.constant(0, tf.int64), lambda n, _: n + 1), tf.float32)

    return {
        _PLAIN: lambda x: x * 2.0,
        "ReadFile": in_a_branch,
        "WriteFile": in_a_loop,
        "MatchingFiles": lambda x: x + tf.cast(tf.size(tf.io.matching_files(f"{word}*")), tf.float32),
        "SaveV2": saves,
        "RestoreV2": restores,
        "PrintV2": prints,
        "TextLineDataset": reads_lines,
        "EagerPyFunc": lambda x: tf.py_function(lambda v: v, [x], tf.float32),
        "PyFunc": lambda x: tf.numpy_function(lambda v: v, [x], tf.float32),
        "ImmutableConst": lambda x: x + tf.raw_ops.ImmutableConst(dtype=tf.float32, shape=[1], memory_region_name=word),
        "DecodeProtoV2": lambda x: (
            x
            + tf.cast(
                tf.size(
                    tf.raw_ops.DecodeProtoV2(
                        bytes=[b""], message_type="x", field_names=[], output_types=[], descriptor_source=word
                    )[0]
                ),
                tf.float32,
            )
        ),
    }


def make(folder: Path) -> None:
    """Write all of them."""
    import tensorflow as tf

    class Program(tf.Module):  # type: ignore[misc]
        def __init__(self, of: Callable[[Any], Any]) -> None:
            super().__init__()
            self.of = of
            self.weights = tf.Variable(tf.ones([100]))

        @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, "x")])  # type: ignore[untyped-decorator]
        def serve(self, x: Any) -> Any:
            return {"y": tf.zeros_like(x) + tf.cast(self.of(x), tf.float32) + self.weights[0]}

    class Words(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            (folder / "words.txt").write_text("a\nb\n", encoding="utf-8")
            file = tf.lookup.TextFileInitializer(
                str(folder / "words.txt"),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            )
            self.table = tf.lookup.StaticHashTable(file, -1)

        @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.string, "x")])  # type: ignore[untyped-decorator]
        def serve(self, x: Any) -> Any:
            return {"y": self.table.lookup(x)}

    for name, program in _programs().items():
        module = Program(program)
        tf.saved_model.save(module, str(folder / name), signatures={"serving_default": module.serve})
    words = Words()
    tf.saved_model.save(words, str(folder / "words"), signatures={"serving_default": words.serve})
    nameless = Program(lambda x: x)
    tf.saved_model.save(nameless, str(folder / "nameless"), signatures={"other": nameless.serve})
    (folder / "words.txt").unlink()
    for name, change in _CHANGES.items():
        shutil.copytree(folder / _PLAIN, folder / name)
        _change(folder / name / "saved_model.pb", change)
    for name in ("padded", "cut", "no-variables", "noise"):
        shutil.copytree(folder / _PLAIN, folder / name)
    with (folder / "padded" / "variables" / "variables.data-00000-of-00001").open("ab") as file:
        file.write(bytes(100_000))
    os.truncate(folder / "cut" / "variables" / "variables.data-00000-of-00001", 100)
    shutil.rmtree(folder / "no-variables" / "variables")
    (folder / "noise" / "saved_model.pb").write_bytes(b"\x08\x01\x12" + b"\xff" * 100)


def _change(path: Path, change: Callable[[Any], None]) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    change(saved)
    path.write_bytes(saved.SerializeToString())


def _function(saved: Any, part: str) -> Any:
    library = saved.meta_graphs[0].graph_def.library.function
    return next(function for function in library if part in function.signature.name)


def _calls_the_saver(saved: Any) -> None:
    call = _function(saved, "__inference_serve").node_def.add(op="StatefulPartitionedCall", name="sly")
    call.attr["f"].func.name = _function(saved, "traced_save").signature.name


def _calls_the_saver_from_its_graph(saved: Any) -> None:
    call = saved.meta_graphs[0].graph_def.node.add(op="StatefulPartitionedCall", name="sly")
    call.attr["f"].func.name = _function(saved, "traced_save").signature.name


def _is_called_like_an_operator(saved: Any) -> None:
    saved.meta_graphs[0].graph_def.library.function.add().signature.name = "ReadFile"


def _names_an_operator_as_a_function(saved: Any) -> None:
    call = _function(saved, "__inference_serve").node_def.add(op="PartitionedCall", name="sly")
    call.attr["f"].func.name = "WriteFile"


def _hides_a_function_in_a_list(saved: Any) -> None:
    call = _function(saved, "__inference_serve").node_def.add(op="Case", name="sly")
    call.attr["branches"].list.func.add().name = "WriteFile"


def _holds_an_unknown_operator(saved: Any) -> None:
    _function(saved, "__inference_serve").node_def.add(op="MyOwnOp", name="sly")


def _holds_it_in_a_function_that_nobody_calls(saved: Any) -> None:
    function = saved.meta_graphs[0].graph_def.library.function.add()
    function.signature.name = "sleeper"
    function.node_def.add(op="ReadFile", name="sly")


def _has_two_graphs(saved: Any) -> None:
    saved.meta_graphs.add().CopyFrom(saved.meta_graphs[0])


def _is_of_tensorflow_1(saved: Any) -> None:
    saved.meta_graphs[0].ClearField("object_graph_def")


def _holds_a_resource(saved: Any) -> None:
    constant = _function(saved, "__inference_serve").node_def.add(op="Const", name="sly")
    constant.attr["value"].tensor.resource_handle_val.add().name = "x"


_CHANGES: dict[str, Callable[[Any], None]] = {
    "calls-saver": _calls_the_saver,
    "graph-calls-saver": _calls_the_saver_from_its_graph,
    "shadow": _is_called_like_an_operator,
    "primitive": _names_an_operator_as_a_function,
    "listed": _hides_a_function_in_a_list,
    "unknown": _holds_an_unknown_operator,
    "sleeper": _holds_it_in_a_function_that_nobody_calls,
    "two": _has_two_graphs,
    "first": _is_of_tensorflow_1,
    "resource": _holds_a_resource,
}


def check(folder: Path) -> None:
    """Print what the inspection says of each, before TensorFlow would load it; null where it has no objection."""
    from services.registry.untrusted import saved_model

    said: dict[str, str | None] = {}
    for path in sorted(folder.iterdir()):
        try:
            saved_model.check(saved_model.read(str(path / "saved_model.pb")))
            saved_model.check_variables(path)
            said[path.name] = None
        except saved_model.Refused as error:
            said[path.name] = str(error)
    print(json.dumps(said))  # noqa: T201 - this is what `run` returns


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](Path(sys.argv[2]))
