"""The commands: `predict`, `serve`, `forward` and `status`.

Exit status: 0 done, 1 refused or failed (a line on standard error says why), 2 wrong usage, 75 the gateway or the log
is not available now: try again.
"""

import argparse
import json
import platform
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .bundle import Bundle, open_bundle
from .errors import EdgeError, InvalidInput, Unavailable, WrongUse
from .forward import Forwarder, Gateway, only_forwarder
from .http_server import EdgeServer
from .inputs import STRING_BYTES, RowReader, load
from .model import Model
from .predicting import ROWS_AT_ONCE, Predictor
from .predlog import BUDGET_BYTES, PredictionLog
from .segments import Life, this_machine
from .status import status

TRY_AGAIN = 75
SMALLEST_BUDGET = 64 << 10
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


def main(arguments: Sequence[str]) -> int:
    """Run one command; its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except EdgeError as error:
        print(f"trimtab_edge: {error.detail}", file=sys.stderr)
        return TRY_AGAIN if isinstance(error, Unavailable) else 1
    except BrokenPipeError:
        return 1


def _predict(options: argparse.Namespace) -> int:
    predictor = _predictor(options)
    failed = False
    try:
        if options.input is not None:
            _print(predictor.predict(load(options.input)))
            return 0
        for chunk in _chunks(options.file):
            for answer in predictor.predict_each(chunk):
                failed = failed or isinstance(answer, EdgeError)
                _print({"error": answer.code, "detail": answer.detail} if isinstance(answer, EdgeError) else answer)
        return 1 if failed else 0
    finally:
        predictor.log.close()


def _serve(options: argparse.Namespace) -> int:
    key = None if options.api_key_file is None else _key(options.api_key_file)
    predictor = _predictor(options)
    try:
        server = EdgeServer(options.host, options.port, predictor, key)
        told = {"listening": f"http://{options.host}:{server.server_port}", "incarnation": predictor.log.incarnation}
        print(json.dumps(told), flush=True)
        server.run()
        return 0
    finally:
        predictor.log.close()


def _forward(options: argparse.Namespace) -> int:
    bundle = open_bundle(options.bundle)
    key = None if options.api_key_file is None else _key(options.api_key_file)
    gateway = Gateway(options.to, key, ca_file=options.ca_file, plain=options.allow_http)
    log = _log_folder(options)
    log.mkdir(mode=0o700, parents=True, exist_ok=True)
    only_forwarder(log)
    forwarder = Forwarder(log, _identity(bundle, options), gateway.send)
    if options.watch is None:
        tally = forwarder.pass_once()
        _print({"forwarded": tally.rows, "gaps": tally.gaps, "refused": tally.refused})
        return 0
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    forwarder.watch(options.watch, stopping, lambda text: print(f"trimtab_edge: {text}", file=sys.stderr, flush=True))
    return 0


def _status(options: argparse.Namespace) -> int:
    bundle = open_bundle(options.bundle)
    try:
        print(json.dumps(status(bundle, _log_folder(options), options.budget_bytes), indent=1))
    except OSError as error:
        raise WrongUse(f"the log can't be read: {error}") from error
    return 0


def _predictor(options: argparse.Namespace) -> Predictor:
    bundle = open_bundle(options.bundle)
    model = Model(bundle.graph, bundle.signature, threads=options.threads)
    reader = RowReader(bundle.signature, options.unexpected)
    log = PredictionLog(
        _log_folder(options),
        _identity(bundle, options),
        budget_bytes=options.budget_bytes,
        policy=options.when_full,
        fsync=options.fsync,
    )
    return Predictor(bundle, model, reader, log)


def _identity(bundle: Bundle, options: argparse.Namespace) -> Life:
    replica = options.replica or re.sub(r"[^A-Za-z0-9._-]", "-", platform.node()).lstrip("._-")[:128] or "edge"
    if _NAME.fullmatch(replica) is None:
        raise WrongUse(f"--replica {replica!r} is no name: 1 to 128 letters, digits, dots, dashes and underscores")
    return Life(
        incarnation="",
        model_id=bundle.model_id,
        version=bundle.version,
        manifest_digest=bundle.manifest_digest,
        signature_digest=bundle.signature_digest,
        replica=replica,
        machine=this_machine(),
    )


def _log_folder(options: argparse.Namespace) -> Path:
    folder: Path = options.log or options.bundle / "log"
    return folder


def _chunks(path: str) -> Iterator[list[Any]]:
    """The rows of a file of JSON lines, many at a time; the error in place of a line that is no JSON."""
    try:
        with sys.stdin.buffer if path == "-" else open(path, "rb") as file:
            chunk: list[Any] = []
            while line := file.readline(64 * STRING_BYTES):
                if line.isspace():
                    continue
                try:
                    chunk.append(load(line))
                except InvalidInput as error:
                    chunk.append(error)
                if len(chunk) == ROWS_AT_ONCE:
                    yield chunk
                    chunk = []
            if chunk:
                yield chunk
    except OSError as error:
        raise WrongUse(f"{path} can't be read: {error.strerror or error}") from error


def _key(path: Path) -> str:
    try:
        key = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"the key file {path} can't be read: {error}") from error
    if not key or not key.isprintable() or " " in key:
        raise WrongUse(f"the key file {path} must hold one key and nothing else")
    return key


def _print(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


def _bytes(text: str) -> int:
    number, unit = (text[:-1], text[-1:].upper()) if text[-1:].isalpha() else (text, "")
    if not number.isdecimal() or unit not in ("", "K", "M", "G"):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 64M")
    size = int(number) << {"": 0, "K": 10, "M": 20, "G": 30}[unit]
    if size < SMALLEST_BUDGET:
        raise argparse.ArgumentTypeError("the log needs at least 64K")
    return size


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.01 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("between 0.01 and 86400 seconds")
    return seconds


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--bundle", type=Path, default=Path(), help="the bundle's folder; default: this one")
    common.add_argument("--log", type=Path, help="the prediction log's folder; default: `log` in the bundle")
    common.add_argument("--replica", help="this device's name; default: its host name")
    common.add_argument(
        "--budget", dest="budget_bytes", type=_bytes, default=BUDGET_BYTES, help="disk for the log: 64M"
    )
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument("--when-full", choices=("reject", "shed"), default="reject", help="refuse, or answer unlogged")
    model.add_argument("--unexpected", choices=("reject", "flag"), default="reject", help="features of no such name")
    model.add_argument("--fsync", action="store_true", help="survive a power failure: wait for the disk")
    model.add_argument("--threads", type=int, choices=range(1, 257), default=1, metavar="N", help="of one run")
    parser = argparse.ArgumentParser(prog="python -m trimtab_edge", description="One model version at the edge.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = commands.add_parser("predict", parents=[common, model], help="answer one row, or a file of them")
    given = predict.add_mutually_exclusive_group(required=True)
    given.add_argument("--input", help="one row, a JSON object of feature names and values")
    given.add_argument("--file", help="rows as JSON lines; - for standard input")
    predict.set_defaults(run=_predict)
    serve = commands.add_parser("serve", parents=[common, model], help="answer over HTTP")
    serve.add_argument("--port", type=int, default=8080, help="8080; 0: any free one")
    serve.add_argument("--host", default="127.0.0.1", help="beyond loopback a key is demanded")
    serve.add_argument("--api-key-file", type=Path, help="holds the key that callers must show")
    serve.set_defaults(run=_serve)
    forward = commands.add_parser("forward", parents=[common], help="hand the log to a gateway")
    forward.add_argument("--to", required=True, metavar="URL", help="such as https://gateway.example:3006")
    forward.add_argument("--api-key-file", type=Path, help="holds a key of the scope `predict`")
    forward.add_argument("--watch", type=_seconds, metavar="SECONDS", help="go on for ever, with such pauses")
    forward.add_argument("--ca-file", type=Path, help="certificates to trust in place of the system's")
    forward.add_argument("--allow-http", action="store_true", help="send the key and the rows unencrypted")
    forward.set_defaults(run=_forward)
    shown = commands.add_parser("status", parents=[common], help="what the log holds")
    shown.set_defaults(run=_status)
    return parser
