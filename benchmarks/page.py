"""How long the report page takes to open: seconds until its figures are drawn, beside plotly's own page of one scatter.

    python benchmarks/page.py

A search of 1,000 configurations with 10 hyperparameters and two objectives, trained in full, in a headless Chromium (Debian's
package ``chromium``), from a file. The peer is plotly's page of the same 1,000 points and nothing else: most of what both
take is reading plotly itself. The pages take turns; medians.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import plotly.graph_objects as go
from mirror import search
from playwright.sync_api import Browser, sync_playwright

from dsnn_hpo.journal import History
from dsnn_hpo.report import report_html

DRAWN = {"report": "body[data-drawn]", "plotly": ".scatterlayer .trace"}


def plotly_page(history: History) -> str:
    """Returns plotly's own page of a search: one scatter of its two objectives."""
    x, y = ([result.values[name] for result in history.results] for name in reversed(history.header.objectives))
    page: str = go.Figure(go.Scatter(x=x, y=y, mode="markers")).to_html(include_plotlyjs=True)
    return page


def seconds_to_open(browser: Browser, file: Path, drawn: str) -> float:
    """Returns the seconds from asking for a page to its figures being there."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    started = time.perf_counter()
    page.goto(file.as_uri())
    page.wait_for_selector(drawn, state="attached", timeout=120_000)
    seconds = time.perf_counter() - started
    page.close()
    return seconds


def main() -> None:
    """Prints the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configurations", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    program = shutil.which("chromium")
    if program is None:
        sys.exit("Debian's package chromium is not installed")
    history = search(arguments.configurations)
    with tempfile.TemporaryDirectory(prefix="dsnn_hpo_") as name, sync_playwright() as driver:
        files = {kind: Path(name, f"{kind}.html") for kind in DRAWN}
        started = time.perf_counter()
        files["report"].write_text(report_html(history), encoding="utf-8")
        made_s = time.perf_counter() - started
        files["plotly"].write_text(plotly_page(history), encoding="utf-8")
        # Run as root in a container, Chromium's own sandbox cannot start.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        times: dict[str, list[float]] = {kind: [] for kind in files}
        for _ in range(arguments.rounds):
            for kind, file in files.items():
                times[kind].append(seconds_to_open(browser, file, DRAWN[kind]))
        browser.close()
        size_mb = files["report"].stat().st_size / 1e6
    report_s, plotly_s = (statistics.median(times[kind]) for kind in ("report", "plotly"))
    print(f"report of {arguments.configurations} configurations: {size_mb:.1f} MB, made in {made_s:.1f} s")
    print(f"opened in {report_s:.2f} s ({min(times['report']):.2f} to {max(times['report']):.2f})")
    print(f"plotly's page of one scatter: {plotly_s:.2f} s; ratio {report_s / plotly_s:.1f}")


if __name__ == "__main__":
    main()
