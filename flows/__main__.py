"""`python -m flows <stage>`, installed as `forgeline <stage>`: every stage, and what a person asks of the factory."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from forgeline.compute import die_with_parent, one_thread
from forgeline.errors import FactoryError

if TYPE_CHECKING:
    from flows.params import Params


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 2 for something the user can mend, 3 for a broken promise of the factory."""
    options = _parser().parse_args(arguments)
    one_thread()
    try:
        options.run(options)
    except FactoryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; what is finished is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    # Nothing heavy is imported here: --help is instant. Each command imports what it needs.
    parser = argparse.ArgumentParser(prog="python -m flows", description=__doc__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, run: Callable[[argparse.Namespace], None], says: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=says, description=says)
        command.set_defaults(run=run)
        return command

    def stage(name: str, run: Callable[[argparse.Namespace], None], says: str, of: str | None = None) -> None:
        def shown(options: argparse.Namespace) -> None:
            from flows.stage_flows import run_stage

            run_stage(name, getattr(options, of) if of else None, lambda: run(options))

        command = add(name, shown, f"stage: {says}")
        if of:
            command.add_argument(of)

    stage("demo", _demo, "render the demo corpus, people who don't exist")
    add("scan", _scan, "take the inventory of every corpus under data/raw").add_argument("source", nargs="*")
    add("camera", _camera, "record a live camera until stopped: see docs/camera.md").add_argument("source")
    stage("ingest", _ingest, "check, probe and track a corpus", "source")
    stage("plan", _plan, "splits with their proof, and who is made from whom")
    stage("train", _train, "train a generator on the train split", "generator")
    stage("generate", _generate, "make and seal what the plan says", "generator")
    stage("variants", _variants, "encode sealed videos as others would, both classes alike", "variant")
    stage("score", _score, "every evaluator over every pair")
    command = add(
        "compare", _compare, "what changed in the figures between two versions, which are git revisions, or . for here"
    )
    command.add_argument("before")
    command.add_argument("after")
    stage("audit", _audit, "check what a release promises")
    stage("report", _report, "a page by which a person accepts or refuses a version")
    stage("release", _release, "the gated, split, sharded dataset with its card")
    stage("sign", _sign, "sign what was released, where that isn't signed yet: see docs/provenance.md")
    command = add("verify", _verify, "check a release, a part of it or a file of it against its signatures")
    command.add_argument("path", nargs="+", type=Path)
    command.add_argument("--signatures", type=Path, default=Path("data/signatures"), metavar="FOLDER")
    command = add("export", _export, "write samples of the release as plain files, signed where a certificate is configured")
    command.add_argument("folder", type=Path)
    command.add_argument("--split", choices=["train", "val", "test"])
    command.add_argument("--method")
    command = add("push", _push, "send what was built to the DVC remote, where the terms permit it")
    command.add_argument("--remote", help="the DVC remote, where it isn't the default one")
    command.add_argument("--timeout", type=float, default=3600, metavar="S", help="seconds for each of three attempts (3600)")
    add("rebuild", _rebuild, "build in a clone of its own, and publish a version: see docs/running.md")
    command = add("serve", _serve, "a Prefect server on this machine, with the schedules of prefect.yaml")
    command.add_argument("--port", type=int, default=4200)
    command.add_argument("--deployments", type=Path, default=Path("prefect.yaml"), metavar="FILE")
    command = add("read", _read, "tell what files are: their marks, credentials, tags and rows")
    command.add_argument("file", nargs="*", type=Path, help="image, video or sound, or a folder of them")
    command.add_argument("--release", action="append", default=[], type=Path, metavar="DIR", help="a pulled release: its rows")
    command.add_argument("--json", action="store_true", help="one JSON object a file, see docs/using.md")
    command.add_argument("--serve", action="store_true", help="a page on 127.0.0.1 that does the same for dropped files")
    command.add_argument("--port", type=int, default=4300, help="of the page (4300)")
    command = add("rate", _rate, "a page on which people rate a release's samples: see docs/rating.md")
    command.add_argument("release", nargs="?", type=Path, default=Path("data/release"), metavar="RELEASE")
    command.add_argument("--invite", type=int, metavar="N", help="print links for so many new raters, and end")
    command.add_argument("--results", action="store_true", help="write the answers to data/ratings, and end")
    command.add_argument("--forget", metavar="RATER", help="delete a rater's invitation and answers, and end")
    command.add_argument("--port", type=int, default=4400, help="of the page (4400)")
    command.add_argument("--address", metavar="URL", help="what raters call it, where a proxy stands in front")
    add("look", _look, "draw contact sheets of what was made").add_argument("generator", nargs="*")
    command = add("rejected", _rejected, "what can't be used and why, of sources, generators and variants")
    command.add_argument("of", nargs="?", help="one of them alone")
    command.add_argument("--stage", help="of one stage alone: corpus, tracks, marks, prints, plan, generate, variants")
    command.add_argument("--retry", action="store_true", help="forget these failures, so that `dvc repro` tries them again")
    terms = add("terms", _terms, "what may be done with each source and with a release, and what forbids the rest")
    terms.add_argument("kind", nargs="?", help="a kind of source: print what to paste into params")
    terms.add_argument("--release", type=Path, metavar="DIR", help="of a pulled release instead")
    add("splits", _splits, "the certificate of the plan's splits: what they were checked for, and what was found")
    add("check", _check, "check manifests").add_argument("manifest", nargs="+", type=Path)
    key = add("key", _key, "make a watermark key")
    key.add_argument("action", choices=["new"])
    key.add_argument("path", type=Path, nargs="?", default=Path("~/.config/forgeline/key"))
    add("weights", _weights, "fetch model files of the weights table, and check them").add_argument("name", nargs="*")
    return parser


def _begin() -> None:
    die_with_parent()
    if "DVC_STAGE" in os.environ and os.getpgid(os.getppid()) != os.getpgrp():  # it was killed while Python started
        raise FactoryError("dvc", "started this stage and is gone", "run `dvc repro` again")


def _params() -> "Params":
    from flows.params import load_params

    _begin()
    return load_params()


def _demo(options: argparse.Namespace) -> None:
    params = _params()
    from flows.demo import demo

    demo(params)


def _scan(options: argparse.Namespace) -> None:
    params = _params()
    from flows.scan import scan_all

    scan_all(options.source, params)


def _camera(options: argparse.Namespace) -> None:
    import signal
    import threading

    from flows.camera import camera
    from flows.params import load_params

    stop = threading.Event()
    for ends in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ends, lambda *_: stop.set())
    camera(options.source, load_params(), stop)


def _ingest(options: argparse.Namespace) -> None:
    params = _params()
    from flows.ingest import ingest

    ingest(options.source, params)


def _plan(options: argparse.Namespace) -> None:
    params = _params()
    from datetime import date

    from flows.plan import plan, show

    print(show(plan(params, date.today())))


def _train(options: argparse.Namespace) -> None:
    _begin()
    from flows.untaught import settled

    if settled(options.generator):
        return
    params = _params()
    from flows.generate import train

    train(options.generator, params)


def _generate(options: argparse.Namespace) -> None:
    params = _params()
    from flows.generate import generate

    generate(options.generator, params)


def _variants(options: argparse.Namespace) -> None:
    params = _params()
    from flows.variants import variants

    variants(options.variant, params)


def _score(options: argparse.Namespace) -> None:
    params = _params()
    from flows.score import score, show

    print(show(score(params)))


def _compare(options: argparse.Namespace) -> None:
    from flows.compare import compare

    print(compare(options.before, options.after))


def _audit(options: argparse.Namespace) -> None:
    params = _params()
    from flows.audit import FILE, audit

    print("audit: passed" if audit(params) else f"audit: FAILED; see {FILE}")


def _report(options: argparse.Namespace) -> None:
    params = _params()
    from flows.report import PAGE, report
    from flows.stage_flows import show_in_ui

    told = report(params)
    show_in_ui("verdict", told.markdown, told.table)
    print(f"report: {PAGE}")


def _release(options: argparse.Namespace) -> None:
    params = _params()
    from flows.release import CARD, release

    print(f"release: {len(release(params))} samples in {CARD.parent}; {CARD} says what they are")


def _sign(options: argparse.Namespace) -> None:
    params = _params()
    from flows.sign import SIGNATURES, sign

    shards, new = sign(params)
    print(f"sign: {shards} shards have signatures in {SIGNATURES}, {new} of them new")


def _verify(options: argparse.Namespace) -> None:
    from flows.sign import verify

    for path in options.path:
        for line in verify(path, options.signatures):
            print(line, flush=True)


def _export(options: argparse.Namespace) -> None:
    params = _params()
    from datetime import date

    from flows.export import export
    from watermark.credentials import CERTIFICATES

    count, signed = export(params, options.folder, options.split, options.method, date.today())
    how = "with credentials in each" if signed else f"without credentials, as {CERTIFICATES} is not set"
    print(f"export: {count} samples in {options.folder}, {how}")


def _read(options: argparse.Namespace) -> None:
    if options.serve == bool(options.file):
        raise FactoryError("read", "takes files and folders, or --serve alone", "say which")
    if options.serve:
        from flows.read_page import serve

        serve(options.port, options.release)
    else:
        from flows.read import read_all

        sys.exit(read_all(options.file, options.release, options.json))


def _rate(options: argparse.Namespace) -> None:
    from flows.rate import forget, invite, results, serve

    if options.forget is not None:
        print(forget(options.release, options.forget))
    elif options.invite is not None:
        print("\n".join(invite(options.release, options.invite, options.port, options.address)))
    elif options.results:
        print(results(options.release))
    else:
        serve(options.release, options.port, options.address)


def _look(options: argparse.Namespace) -> None:
    from flows.look import look
    from flows.params import load_params

    for path in look(options.generator, load_params()):
        print(path)


def _terms(options: argparse.Namespace) -> None:
    from sources.table import SOURCES, template_yaml

    if options.kind:
        if options.kind not in SOURCES:
            raise FactoryError(options.kind, "is no kind of source", f"there are {', '.join(SOURCES)}")
        print(template_yaml(options.kind), end="")
        return
    from flows.params import load_params
    from flows.terms import show, show_release

    print(show_release(options.release) if options.release else show(load_params()))


def _rejected(options: argparse.Namespace) -> None:
    params = _params()
    from flows.rejected import rejected, retry, show

    if options.retry:
        count = retry(params, options.of, options.stage)
        print(f"rejected: {count} failures forgotten; the next run of their stages tries them again, and nothing else")
    else:
        print(show(rejected(params, options.of, options.stage)))


def _splits(options: argparse.Namespace) -> None:
    import json

    from flows.splits import CERTIFICATE, show

    if not CERTIFICATE.is_file():
        raise FactoryError(CERTIFICATE, "is not there", "run `dvc repro plan`, or pull a version")
    try:
        print(show(json.loads(CERTIFICATE.read_text(encoding="utf-8"))))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = "is no certificate that this version writes"
        raise FactoryError(CERTIFICATE, what, "run `dvc repro plan`, or use the version that made it") from error


def _check(options: argparse.Namespace) -> None:
    from forgeline.manifest import check

    for path in options.manifest:
        if not path.is_file():
            raise FactoryError(path, "is not there", "name a manifest, such as data/made/control/manifest.parquet")
        check(path)
        print(f"{path}: keeps its promises")


def _key(options: argparse.Namespace) -> None:
    from watermark.keys import KEY_FILE, new_key

    path = options.path.expanduser().absolute()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = new_key(path)
    older = [name for name in os.environ.get(KEY_FILE, "").split(os.pathsep) if name]
    print(f"key {key.id} is in {path}; keep a copy of that file in a safe place")
    print(f"export {KEY_FILE}={os.pathsep.join([str(path), *older])}, and write `key: {key.id}` under seal in params.yaml")


def _push(options: argparse.Namespace) -> None:
    params = _params()
    from datetime import date

    from flows.push import push

    push(params, options.remote, options.timeout, date.today())


def _rebuild(options: argparse.Namespace) -> None:
    from flows.rebuild import rebuild_now

    rebuild_now()


def _serve(options: argparse.Namespace) -> None:
    from flows.serve import serve

    serve(options.port, options.deployments)


def _weights(options: argparse.Namespace) -> None:
    from forgeline.weights import WEIGHTS, weights

    for name in options.name or WEIGHTS:
        if name not in WEIGHTS:
            raise FactoryError(name, "is no model file of the table", f"there are {', '.join(WEIGHTS)}")
        print(f"{name}: {weights(name)}")


if __name__ == "__main__":
    sys.exit(main())
