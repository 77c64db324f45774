"""Every optimizer at equal cost: hypervolume over cost, mean ranks with a test, times of asking, and the figure for the docs.

    python benchmarks/search.py run [--set reporting|tuning] [--seeds 10] [--cost 60] [--workers 1] [--processes N] ...
    python benchmarks/search.py report [--ours LABEL] [--figure FILE] [--markdown FILE]
    python benchmarks/search.py ask [--known 500 5000]
    python benchmarks/search.py list

A full training costs 1, a shorter one its share of the epochs; `--continues` credits what was trained before. The score is the
hypervolume of the true values of the configurations that were trained to the end, over the best that there is. Searches are kept
in a file as they end, and are not done twice: delete the file, or name another one, after an optimizer changed. Those of the
documentation are in `search_results.jsonl.gz`: `report --results benchmarks/search_results.jsonl.gz`. Further
settings of ours take part by `--also 'bayesian, cheap tests={"name": "bayesian", "test_price": 0.6}'`; a label that begins with
"bayesian" is ours, any other one a peer.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from searching.asking import Times, asking
from searching.entrants import MAIN, Entrant, UnknownEntrantError, entrants
from searching.figure import draw
from searching.jobs import JobSpec, read_records, run_all
from searching.problems import FIRST_SEEDS, SETS, make_problem, names
from searching.recorded import RecordingMissingError
from searching.scores import MixedRecordsError
from searching.simulation import Setting
from searching.summary import summary
from searching.tables import TableMissingError
from threadpoolctl import threadpool_limits

RESULTS = Path(__file__).parents[1] / "build" / "bench-search" / "results.jsonl"
TARGETS_MS = {500: (200.0, 500.0), 5000: (500.0, float("inf"))}
TARGET_TELL_MS = 1.0
TARGET_KNOWN_MS = 1.0
"""Of making a trial known, by recall and tell."""


def main() -> None:
    """Does what the command line says."""
    arguments = _parser().parse_args()
    try:
        {"run": run, "report": report, "ask": ask, "list": show}[arguments.command](arguments)
    except (UnknownEntrantError, MixedRecordsError) as error:
        raise SystemExit(str(error)) from None


def run(arguments: argparse.Namespace) -> None:
    """Carries out the searches that the file of results lacks."""
    if arguments.results.suffix == ".gz":
        raise SystemExit(f"{arguments.results}: a compressed file cannot be added to; unpack it and name that one")
    unknown = [name for name in arguments.problems or () if name not in names()]
    if unknown:
        raise SystemExit(f"there is no problem {unknown[0]!r}; there are: {', '.join(map(repr, names()))}")
    problems = list(_available(arguments.problems or SETS[arguments.set]))
    who = entrants(arguments.entrants, arguments.also)
    setting = Setting(arguments.cost, arguments.workers, arguments.continues)
    first = FIRST_SEEDS[arguments.set]
    # All entrants on a seed before the next one, so that an interrupted comparison compares something.
    jobs = [
        JobSpec(problem, entrant, seed, setting)
        for seed in range(first, first + arguments.seeds)
        for problem in problems
        for entrant in who
    ]
    if run_all(jobs, arguments.results, arguments.processes):
        raise SystemExit("some searches failed, see above; the same command tries them again")


def report(arguments: argparse.Namespace) -> None:
    """Prints the report and writes what is asked for."""
    records = [r for r in read_records(arguments.results) if arguments.set is None or r.problem in SETS[arguments.set]]
    text = summary(records, arguments.ours, arguments.continues)
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text)
    if arguments.figure:
        try:
            draw(records, arguments.figure, arguments.ours, arguments.continues)
        except ValueError as error:
            raise SystemExit(str(error)) from None


def ask(arguments: argparse.Namespace) -> None:
    """Prints how long proposals take, on one core."""
    with threadpool_limits(limits=1):
        for entrant in entrants(arguments.entrants or [MAIN], arguments.also):
            for n_known in arguments.known:
                times = asking(entrant, n_known)
                print(f"{entrant.label}: {times}{_judged(entrant, times)}", flush=True)


def show(_arguments: argparse.Namespace) -> None:
    """Prints problems and entrants."""
    for name, members in SETS.items():
        print(f"{name}, seeds from {FIRST_SEEDS[name]}: {'; '.join(members)}")
    print(f"entrants: {'; '.join(entrant.label for entrant in entrants())}")


def _judged(entrant: Entrant, times: Times) -> str:
    if times.n_known not in TARGETS_MS or not entrant.label.startswith(MAIN):
        return ""
    (_, p90, highest), (p90_asked, highest_asked) = times.ask_ms, TARGETS_MS[times.n_known]
    known_ms = 1000 * times.known_s / times.n_known
    is_met = p90 <= p90_asked and highest <= highest_asked
    is_met &= times.tell_max_ms <= TARGET_TELL_MS and known_ms <= TARGET_KNOWN_MS
    return f": target {'met' if is_met else 'MISSED'}"


def _available(problems: Sequence[str]) -> Iterator[str]:
    for name in problems:
        try:
            make_problem(name, 0)
        except (TableMissingError, RecordingMissingError) as error:
            print(f"left out: {error}", file=sys.stderr)
        else:
            yield name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run", help="carry out searches")
    runs.add_argument("--set", choices=sorted(SETS), default="reporting")
    runs.add_argument("--problems", nargs="+", metavar="NAME", help="instead of all of the set")
    runs.add_argument("--seeds", type=int, default=10)
    runs.add_argument("--cost", type=float, default=60.0, help="in full trainings")
    runs.add_argument("--workers", type=int, default=1, help="simulated ones")
    runs.add_argument("--processes", type=int, default=max(1, multiprocessing.cpu_count()), help="searches at a time")
    runs.add_argument("--continues", action="store_true", help="longer trainings go on from shorter ones")
    reports = commands.add_parser("report", help="print what the results say")
    reports.add_argument("--set", choices=sorted(SETS))
    reports.add_argument("--ours", default=MAIN, help="the entrant to be compared with the peers")
    reports.add_argument("--continues", action="store_true")
    reports.add_argument("--figure", type=Path)
    reports.add_argument("--markdown", type=Path)
    asks = commands.add_parser("ask", help="time proposals with many trials known")
    asks.add_argument("--known", type=int, nargs="+", default=sorted(TARGETS_MS))
    commands.add_parser("list", help="problems and entrants")
    for command in (runs, asks):
        command.add_argument("--entrants", nargs="+", metavar="LABEL", help="instead of all that there are")
        command.add_argument("--also", action="append", metavar="LABEL={...}", help="settings of ours as JSON")
    for command in (runs, reports):
        command.add_argument("--results", type=Path, default=RESULTS)
    return parser


if __name__ == "__main__":
    main()
