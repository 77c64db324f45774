"""The page's looks and its script."""

STYLE = """
:root { color-scheme: light; --ink: #1d2939; --quiet: #667085; --line: #e4e7ec; --red: #c8102e; --ground: #f7f8fa; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0; color: var(--ink); background: white; line-height: 1.55;
  font: 16px/1.55 Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.35rem; margin: 3rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .4rem; }
p, ul { margin: .5rem 0; max-width: 75ch; }
a { color: #1f5fa8; }
.quiet { color: var(--quiet); }
.says { font-size: .92rem; }
nav { margin: 1rem 0 0; font-size: .92rem; }
nav a { margin-right: .75rem; white-space: nowrap; }
.warning { border-left: 4px solid var(--red); background: #fdf3f4; padding: .6rem .9rem; margin: 1rem 0; max-width: none; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; margin: .5rem 0; }
th, td { padding: .35rem .9rem .35rem 0; text-align: right; border-bottom: 1px solid var(--line); vertical-align: bottom; }
th { font-weight: 600; color: var(--quiet); }
td { white-space: nowrap; }
td:first-child, th:first-child { text-align: left; }
table.text th, table.text td { text-align: left; vertical-align: top; }
table.text td { white-space: normal; overflow-wrap: anywhere; }
table.text td:first-child, table.text th:first-child { white-space: nowrap; }
tr.knee td:first-child::after { content: ' knee'; color: var(--red); font-size: .8rem; }
.figure { width: 100%; height: 480px; }
.figure.tall { height: 560px; }
.figure.broad { min-width: 860px; }
.member { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 0 2.5rem; }
section:target > h3 { color: var(--red); }
pre { background: var(--ground); padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; line-height: 1.45; }
code { font-size: .92em; }
summary { cursor: pointer; color: #1f5fa8; }
button { font: inherit; font-size: .92rem; padding: .3rem .8rem; border: 1px solid #d0d5dd; border-radius: 6px;
  background: white; cursor: pointer; }
@media (max-width: 640px) {
  main { padding: 1.25rem .9rem 3rem; } h1 { font-size: 1.6rem; }
  .figure:not(.broad) { min-width: 560px; }
}
@media print { nav, button { display: none; } h2 { break-after: avoid; } .wide { break-inside: avoid; } }
"""

SCRIPT = """
(function () {
  const read = id => JSON.parse(document.getElementById(id).textContent);
  const hovers = read('hovers'), figures = read('figures'), texts = '%{text}<extra></extra>';
  const settings = {displaylogo: false, responsive: true};
  const draw = i => {
    if (i === figures.length) { document.body.dataset.drawn = figures.length; return; }
    const figure = figures[i], place = document.getElementById('figure-' + figure.name);
    for (const trace of figure.data) {
      if (trace.hovertemplate === texts) trace.text = trace.customdata.map(id => hovers[id] || '');
    }
    const image = {filename: figure.name, scale: 2};
    Plotly.newPlot(place, figure.data, figure.layout, {...settings, toImageButtonOptions: image}).then(() => {
      place.on('plotly_click', event => {
        const member = document.getElementById('trial-' + event.points[0].customdata);
        if (member) location.hash = member.id;
      });
      // One after another, with a pause: what is above can be read while the rest is drawn.
      setTimeout(draw, 0, i + 1);
    });
  };
  document.getElementById('save-json').addEventListener('click', () => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([JSON.stringify(read('front-json'), null, 2)], {type: 'application/json'}));
    link.download = 'front.json';
    link.click();
    URL.revokeObjectURL(link.href);
  });
  draw(0);
})();
"""
