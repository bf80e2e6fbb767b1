"""Writes the rows of a run as a Markdown page with a table, and as a chart."""
import datetime
import math
import os
import platform
import re
import xml.sax.saxutils

COLOURS = {"met": "#22a55a", "short": "#d9930a", "-": "#6b7280"}
LEFT, RIGHT, STEP, WIDTH = 250, 120, 22, 900
FACTOR = re.compile(r"^(<=|>=)([0-9.]+)\*peer$")


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) / 2**20
    return f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, Linux {platform.release()}"


def better(row):
    """How many times better than the peer we are, and what the bar asks for; None where there is no peer."""
    _, ours, peer, _, _, bar, _ = row
    match = FACTOR.match(bar)
    if peer == "-" or not match or float(ours) == 0 or float(peer) == 0:
        return None
    less = match[1] == "<="
    ratio, wanted = float(ours) / float(peer), float(match[2])
    return (1 / ratio, 1 / wanted) if less else (ratio, wanted)


def chart(rows):
    """Bars on a logarithmic scale: the peer is the line at 1, a tick on each row is its bar."""
    rows = [(row, *better(row)) for row in rows if better(row)]
    if not rows:
        return ""
    low = min(0.1, *(min(times, wanted) for _, times, wanted in rows))
    high = max(10.0, *(max(times, wanted) for _, times, wanted in rows))
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)

    def x(value):
        share = (math.log10(value) - decades[0]) / (decades[-1] - decades[0])
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    height = 60 + STEP * len(rows)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
           'font-family="sans-serif" font-size="12">', f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
           f'<text x="{LEFT}" y="18">times better than the best peer; the dark tick is what we ask of ourselves</text>']
    for decade in decades:
        at = x(10.0**decade)
        colour = "#111827" if decade == 0 else "#e5e7eb"
        out.append(f'<line x1="{at:.1f}" y1="30" x2="{at:.1f}" y2="{height - 25}" stroke="{colour}"/>')
        out.append(f'<text x="{at:.1f}" y="{height - 10}" text-anchor="middle">{10.0**decade:g}</text>')
    for i, (row, times, wanted) in enumerate(rows):
        y = 34 + STEP * i
        first, last = sorted((x(1), x(times)))
        name = xml.sax.saxutils.escape(row[0])
        out.append(f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{name}</text>')
        out.append(f'<rect x="{first:.1f}" y="{y}" width="{max(last - first, 1):.1f}" height="{STEP - 7}" fill="{COLOURS[row[6]]}"/>')
        out.append(f'<line x1="{x(wanted):.1f}" y1="{y - 2}" x2="{x(wanted):.1f}" y2="{y + STEP - 5}" stroke="#111827" stroke-width="2"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 8}" y="{y + 12}">{times:.2f}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def merged(page, rows):
    """The rows, and those of the page that were not measured again, if it was written on such a machine as this."""
    if not os.path.exists(page):
        return rows
    with open(page) as file:
        lines = file.read().splitlines()
    here = machine()
    if not any(here in line for line in lines):
        return rows
    table = [[field.strip(" `") for field in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    all_rows = {row[0]: row for row in table[1:]}
    all_rows.update((row[0], row) for row in rows)
    return sorted(all_rows.values(), key=lambda row: row[0].split(".")[0])


def write(folder, columns, rows, whole):
    """FOLDER/performance.md and, where rows have a peer, FOLDER/performance.svg; not `whole`: other rows of the page stay."""
    if not whole:
        rows = merged(os.path.join(folder, "performance.md"), rows)
    picture = chart(rows)
    lines = ["# Performance", "",
             f"Written by `bench/all --report` on {datetime.date.today().isoformat()}: {machine()}.", "",
             "Ours and each peer ran alternately in the same run; figures are medians, the peer of a row is the best of those named in",
             "[bench/README.md](../bench/README.md). `ratio` is ours divided by the peer's. A bar is what must hold of ours; `short` says that it",
             "does not. Machines differ: run it on yours.", ""]
    if picture:
        lines += ["![How many times better than the best peer](performance.svg)", ""]
    lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(f"`{field}`" if i == 5 and field != "-" else field for i, field in enumerate(row)) + " |"
              for row in rows]
    notes = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "NOTES.md")
    if os.path.exists(notes):
        with open(notes) as file:
            lines += ["", file.read().rstrip()]
    with open(os.path.join(folder, "performance.md"), "w") as file:
        file.write("\n".join(lines) + "\n")
    if picture:
        with open(os.path.join(folder, "performance.svg"), "w") as file:
            file.write(picture)
