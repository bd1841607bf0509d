"""Serves the page in web/: draw a character in the browser and see what the network reads.

Reads:  web/, an ONNX model and its mapping (the pretrained one if none is given)
Writes: web/node_modules/ when npm's packages are not there yet; with --engine tract, examples/rust/target/; with
        --output-dir, the page as files
Run:    python serve_web.py --port 8000

Stop it with Ctrl-C. The files of --output-dir can be put on any web server; over HTTPS the page works offline, too.
"""

from kanjinet.cli import make_parser, port_number, run_script, show_path

import argparse
import sys
from pathlib import Path

from kanjinet.errors import KanjinetError
from kanjinet.evaluation.recognizer import find_model, list_pretrained
from kanjinet.storage.files import check_output_folder, make_folder, replace_on_success
from kanjinet.web.bundle import ENGINES, assemble_page
from kanjinet.web.server import PageServer, is_loopback
from kanjinet.web.tract import find_cargo, find_tract

ROOT = Path(__file__).resolve().parent


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python serve_web.py --model kanji_model_etl9g_64x64_3036classes_tract.onnx")
    model_help = "an .onnx file, its _mapping.json beside it; etl9g or japanese: the pretrained one (default: both)"
    parser.add_argument("--model", type=Path, help=model_help)
    engine_help = "runs the network in the browser; tract: smaller, built once by cargo, which takes some minutes"
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[0], help=engine_help)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: the whole network may ask")
    parser.add_argument("--port", type=port_number, default=8000, help="0: any that is free")
    parser.add_argument("--output-dir", type=Path, help="write the page's files there, and serve nothing")
    args = parser.parse_args()
    if args.output_dir and (args.host, args.port) != (parser.get_default("host"), parser.get_default("port")):
        parser.error("--output-dir serves nothing: leave --host and --port out")
    return args


def main() -> None:
    args = parse_args()
    check_output_folder(args.output_dir, "--output-dir")
    models = [find_model(args.model)] if args.model else list_pretrained()
    if args.engine == "tract" and find_cargo() and find_tract(ROOT / "web") is None:
        print("tract      is built by cargo, once: this takes some minutes", flush=True)
    files = assemble_page(ROOT / "web", *models, engine=args.engine)
    if args.output_dir:
        write_files(args.output_dir, files)
    else:
        serve(files, models, args.host, args.port)


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    make_folder(folder)
    for name, content in files.items():
        with replace_on_success(folder / name) as file:
            file.write(content)
    print(f"written    {show_path(folder)}: {len(files)} files, {sum(map(len, files.values())) / 1e6:.1f} MB")


def serve(files: dict[str, bytes], models: list[Path], host: str, port: int) -> None:
    """Serves until Ctrl-C."""
    only_loopback = is_loopback(host)
    try:
        server = PageServer(files, host, port, only_loopback=only_loopback)
    except OSError as error:
        raise KanjinetError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror or error})", "choose another"
        ) from error
    with server:
        for model in models:
            print(f"model      {show_path(model)}")
        print(f"page       http://{f'[{host}]' if ':' in host else host}:{server.server_port}/ (Ctrl-C ends it)")
        if not only_loopback:
            print("note       the whole network may ask; to work offline, the page needs HTTPS or this machine")
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    run_script(main)
