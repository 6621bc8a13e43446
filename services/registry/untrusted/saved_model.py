"""Look into a TensorFlow SavedModel of unknown origin. Run as a script, in a process of its own with capped memory and
time.

Like `graph.py` it reads one line, `[.../saved_model.pb, MEMORY_BYTES, CPU_SECONDS]`, and prints the interface of its
`serving_default`, or `{"refused": "a sentence"}`. A SavedModel is a program: its graph can read and write files, run
Python and load libraries (https://github.com/tensorflow/tensorflow/blob/master/SECURITY.md). So before TensorFlow gets
to see it, every node of the graph and of every function in its library must be an operator of `tensorflow_ops.json`
(computation, variables, tables in memory) or a call of one of its own functions. Operators that move files are those
of the saver alone, whose functions nothing else may call, and which serving never runs: it restores by itself. Refused:
assets (tables from files), models of TensorFlow 1, functions that are called like an operator, resources as constants,
and bytes in the variables' files that their index does not name.

Then it is loaded as serving loads it and answers one row of zeros and empty strings. By then it can compute and
allocate, for which the process is capped, and nothing else.
"""

import json
import os
import resource
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

OPERATORS = frozenset(json.loads(Path(__file__).with_name("tensorflow_ops.json").read_text("utf-8")))
SAVER_OPERATORS = frozenset(("MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"))
SIGNATURE = "serving_default"
MAX_VALUES = 10_000
"""Inputs, and outputs."""
MAX_NAME_CHARACTERS = 256
GROWTH_BYTES, GROWTH = 512 << 20, 4
"""As in `graph.py`: a model may take `GROWTH` times its files and this much more memory once it is loaded."""
MAX_UNNAMED_BYTES = 1 << 16
"""What the variables' files may hold beside numbers and the words that the index names: lengths and checksums."""


class Refused(Exception):
    """The SavedModel must not be served; the text says why."""


def brief(text: object) -> str:
    """`text` quoted, short enough for a sentence."""
    return repr(text)[:80]


# the program ------------------------------------------------------------------------------------------------------


def read(path: str) -> Any:
    """The one MetaGraphDef of the file. Raises `Refused`."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString(Path(path).read_bytes())
    except DecodeError as error:
        raise Refused("the file is not a SavedModel") from error
    if len(saved.meta_graphs) != 1 or "serve" not in saved.meta_graphs[0].meta_info_def.tags:
        raise Refused("it must hold one graph, tagged `serve`: save it with tf.saved_model.save or model.export")
    return saved.meta_graphs[0]


def check(meta: Any) -> None:
    """Raise `Refused` for what the program of a served model must not hold."""
    if not meta.HasField("object_graph_def"):
        raise Refused("it is of TensorFlow 1: load it with TensorFlow 2 and save it again")
    if SIGNATURE not in meta.signature_def:
        raise Refused(f"it has no signature {SIGNATURE}: name the function to serve in tf.saved_model.save")
    if meta.asset_file_def:
        raise Refused(
            f"it reads the file {brief(meta.asset_file_def[0].filename)} when it is loaded: build the words into the "
            "graph (StringLookup(vocabulary=[...]), KeyValueTensorInitializer)"
        )
    if any(node.HasField("asset") for node in meta.object_graph_def.nodes):
        raise Refused("it reads a file when it is loaded: build its words into the graph")
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    _check_names(meta, functions)
    of_saver = _saver_functions(meta, functions)
    saver_nodes = _saver_nodes(meta)
    for node in meta.graph_def.node:
        check_node(node, functions, may_save=False, where="its graph")
        if node.name not in saver_nodes and of_saver & called(node, functions):
            raise Refused(f"its node {brief(node.name)} calls the saver")
    for name, function in functions.items():
        for node in function.node_def:
            check_node(node, functions, may_save=name in of_saver, where=f"its function {brief(name)}")


def check_node(node: Any, functions: dict[str, Any], *, may_save: bool, where: str) -> None:
    """Raise `Refused` unless the node computes, calls a function of the model, or is the saver's."""
    if node.op not in OPERATORS and node.op not in functions and not (may_save and node.op in SAVER_OPERATORS):
        raise Refused(
            f"{where} holds the operator {brief(node.op)}, which is none of those that only compute: keep files, "
            "Python functions and operators of other libraries out of what you register"
        )
    for function in functions_in(node):
        if function not in functions:
            raise Refused(f"{where} calls {brief(function)}, which is no function of the model")
    for value in node.attr.values():
        for tensor in (value.tensor, *value.list.tensor):
            if tensor.resource_handle_val or tensor.variant_val:
                raise Refused(f"{where} holds a resource as a constant, {brief(node.name)}")


def functions_in(node: Any) -> Iterator[str]:
    """The functions that a node's attributes name, those of their attributes too."""
    waiting = list(node.attr.values())
    while waiting:
        value = waiting.pop()
        for function in (*((value.func,) if value.HasField("func") else ()), *value.list.func):
            yield function.name
            waiting.extend(function.attr.values())


def called(node: Any, functions: dict[str, Any]) -> set[str]:
    """The model's functions that a node calls."""
    return {name for name in (node.op, *functions_in(node)) if name in functions}


def _check_names(meta: Any, functions: dict[str, Any]) -> None:
    from tensorflow.python.framework import op_def_registry

    if len(functions) < len(meta.graph_def.library.function):
        raise Refused("it defines a function twice")
    for name in functions:
        if op_def_registry.get(name) is not None:
            raise Refused(f"its function {brief(name)} is called like an operator of TensorFlow")


def _saver_nodes(meta: Any) -> set[str]:
    named = (meta.saver_def.save_tensor_name, meta.saver_def.restore_op_name)
    return {name.partition(":")[0] for name in named}


def _saver_functions(meta: Any, functions: dict[str, Any]) -> set[str]:
    """The functions of the saver: reached from its nodes, and from nothing else."""
    nodes = _saver_nodes(meta)
    roots = {name for node in meta.graph_def.node if node.name in nodes for name in called(node, functions)}
    objects = meta.object_graph_def
    others = {name for node in meta.graph_def.node if node.name not in nodes for name in called(node, functions)}
    others |= set(objects.concrete_functions) | {
        name
        for node in objects.nodes
        for name in (*node.function.concrete_functions, node.bare_concrete_function.concrete_function_name)
    }
    return _reached(roots, functions) - _reached(others & set(functions), functions)


def _reached(roots: Iterable[str], functions: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [other for node in functions[name].node_def for other in called(node, functions)]
    return found


# the variables ----------------------------------------------------------------------------------------------------


def check_variables(folder: Path) -> None:
    """Raise `Refused` unless the files of variables hold what their index names and nothing more."""
    import tensorflow as tf

    present = sorted(path.name for path in (folder / "variables").glob("*"))
    if not present:
        raise Refused("its variables are missing: send variables/variables.index and variables/variables.data-* too")
    try:
        reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        named_bytes = 0
        for name, shape in shapes.items():
            if dtypes[name] == tf.string:
                texts = reader.get_tensor(name)
                named_bytes += sum(map(len, texts.reshape(-1).tolist() if shape else [texts]))
            else:
                named_bytes += dtypes[name].size * int(tf.TensorShape(shape).num_elements() or 0)
    except (tf.errors.OpError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise Refused(f"its variables cannot be read: {' '.join(str(error).split())[:300]}") from error
    shards = [name for name in present if name != "variables.index"]
    if any(not shard.endswith(f"-of-{len(shards):05}") for shard in shards):
        raise Refused(f"its variables lie in {', '.join(shards)[:200]}, which are not all of one set")
    found = sum((folder / "variables" / shard).stat().st_size for shard in shards)
    if not 0 <= found - named_bytes <= MAX_UNNAMED_BYTES:
        raise Refused(f"its variables have {found} bytes, and their index names {named_bytes}")


# its answer -------------------------------------------------------------------------------------------------------


def run_once(folder: Path) -> dict[str, Any]:
    """Load it as serving does, answer one row; what it takes and returns. Raises `Refused`."""
    import tensorflow as tf

    before = resident_bytes()
    try:
        loaded = tf.saved_model.load(str(folder))
        function = loaded.signatures[SIGNATURE]
        inputs = values_of(dict(function.structured_input_signature[1]))
        row = {
            value["name"]: tf.fill([size or 1 for size in value["dims"]], tf.zeros([], value["dtype"]))
            for value in inputs
        }
        grown = resident_bytes() - before
        size = sum(path.stat().st_size for path in (folder / "variables").glob("*"))
        size += (folder / "saved_model.pb").stat().st_size
        if grown > GROWTH_BYTES + GROWTH * size:
            raise Refused(f"loaded, it takes {grown >> 20} MiB, which its files do not account for")
        outputs = values_of(dict(function.structured_outputs))
        function(**row)
    except (tf.errors.OpError, ValueError, TypeError, KeyError, AttributeError, OSError, RuntimeError) as error:
        raise Refused(f"TensorFlow cannot run it: {' '.join(str(error).split())[:500]}") from error
    return {"inputs": inputs, "outputs": outputs}


def values_of(specs: dict[str, Any]) -> list[dict[str, Any]]:
    """Name, dtype and dimensions of inputs or outputs. Raises `Refused`."""
    if len(specs) > MAX_VALUES or any(len(name) > MAX_NAME_CHARACTERS for name in specs):
        raise Refused(f"at most {MAX_VALUES} inputs and outputs, named in {MAX_NAME_CHARACTERS} characters")
    for name, spec in specs.items():
        if not hasattr(spec, "dtype") or spec.shape.rank is None:
            raise Refused(f"{brief(name)} is no tensor whose shape is known")
    return [
        {"name": name, "dtype": spec.dtype.name, "dims": spec.shape.as_list()} for name, spec in sorted(specs.items())
    ]


def resident_bytes() -> int:
    """Memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def inspect(path: str) -> dict[str, Any]:
    """What the SavedModel of the file at `path` takes and returns. Raises `Refused`."""
    check(read(path))
    folder = Path(path).parent
    check_variables(folder)
    return run_once(folder)


def cap(memory_bytes: int, cpu_seconds: int, file_bytes: int = 0) -> None:
    """Bound this process; TensorFlow has to be imported already, which tries a temporary file."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def start() -> None:
    """Import TensorFlow for one thread, and without a GPU."""
    os.environ.update({"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "TF_ENABLE_ONEDNN_OPTS": "0"})
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def main(path: str, memory_bytes: int, cpu_seconds: int) -> None:
    """Cap this process, inspect, print."""
    start()
    cap(memory_bytes, cpu_seconds)
    try:
        answer = inspect(path)
    except Refused as error:
        answer = {"refused": str(error)}
    except MemoryError:
        answer = {"refused": "it asks for more memory than the inspection allows"}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main(*json.loads(sys.stdin.readline()))
