"""Draws summary.tsv as bars: the proxies' CPU time for 100,000 transactions, one panel a script and protocol."""

import csv
import os
import sys
from html import escape

COLORS = {"pgbouncer": "#8a8f98", "pgshunt": "#2563eb"}
PANEL_WIDTH, PANEL_HEIGHT, MARGIN, LEFT = 300, 200, 50, 60


def panel(out, rows, title, x, y):
    """One panel: a group of bars for each number of clients, a whisker from the least to the most."""
    groups = sorted({int(row["clients"]) for row in rows})
    top = max(float(row["cpu_s_most"]) for row in rows) * 1.1 or 1.0
    out.append(f'<text x="{x}" y="{y - 10}" font-weight="bold">{escape(title)}</text>')
    for part in range(5):
        value = top * part / 4
        at = y + PANEL_HEIGHT * (1 - part / 4)
        out.append(f'<line x1="{x}" x2="{x + PANEL_WIDTH}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e5e7eb"/>')
        out.append(f'<text x="{x - 6}" y="{at + 4:.1f}" text-anchor="end">{value:.1f}</text>')
    width = PANEL_WIDTH / len(groups)
    bar = width * 0.8 / len(COLORS)
    for row in rows:
        left = x + groups.index(int(row["clients"])) * width + width * 0.1
        left += list(COLORS).index(row["target"]) * bar
        high = lambda name: y + PANEL_HEIGHT * (1 - float(row[name]) / top)
        at, middle = high("cpu_s_per_100k"), left + bar * 0.45
        out.append(
            f'<rect x="{left:.1f}" y="{at:.1f}" width="{bar * 0.9:.1f}" height="{y + PANEL_HEIGHT - at:.1f}" '
            f'fill="{COLORS[row["target"]]}"/>'
            f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{high("cpu_s_least"):.1f}" '
            f'y2="{high("cpu_s_most"):.1f}" stroke="#111827"/>'
            f'<text x="{middle:.1f}" y="{at - 4:.1f}" text-anchor="middle">{row["cpu_s_per_100k"]}</text>'
        )
    for number, clients in enumerate(groups):
        out.append(
            f'<text x="{x + (number + 0.5) * width:.1f}" y="{y + PANEL_HEIGHT + 16}" '
            f'text-anchor="middle">{clients}</text>'
        )


def main(folder):
    with open(os.path.join(folder, "summary.tsv")) as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["target"] in COLORS]
    with open(os.path.join(folder, "about.txt")) as file:
        about = " · ".join(line.strip() for line in file)
    if not rows:
        return
    scripts = list(dict.fromkeys(row["script"] for row in rows))
    protocols = list(dict.fromkeys(row["protocol"] for row in rows))
    width = LEFT + len(protocols) * (PANEL_WIDTH + MARGIN)
    height = 80 + len(scripts) * (PANEL_HEIGHT + 70)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">CPU-seconds of the proxy per 100,000 transactions, '
        "by clients (median; line: least to most)</text>",
        f'<text x="{LEFT}" y="36" fill="#6b7280" font-size="9">{escape(about)}</text>',
    ]
    for number, (name, color) in enumerate(COLORS.items()):
        x = LEFT + number * 100
        out.append(f'<rect x="{x}" y="44" width="10" height="10" fill="{color}"/>')
        out.append(f'<text x="{x + 14}" y="53">{name}</text>')
    for down, script in enumerate(scripts):
        for right, protocol in enumerate(protocols):
            mine = [row for row in rows if row["script"] == script and row["protocol"] == protocol]
            if mine:
                x, y = LEFT + right * (PANEL_WIDTH + MARGIN), 90 + down * (PANEL_HEIGHT + 70)
                panel(out, mine, f"{script}, {protocol}", x, y)
    out.append("</svg>")
    target = os.path.join(folder, "compare.svg")
    with open(target, "w") as file:
        file.write("\n".join(out))
    print(f"\nplot: {target}")


main(sys.argv[1])
