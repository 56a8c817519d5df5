"""A passage through a network as an SVG picture, still or in motion: readable on light and on dark pages."""

from passage import HIGH, LOW, Floats, Layer, Passage, Trace

WIDTH, LEFT, WINDOW, TOP = 860, 128, 132, 40
RASTER, POTENTIAL, GAP, READOUT = 50, 76, 14, 92
PIXEL = 11

# Of the motion: seconds that a window takes, and that the whole picture stands before it begins again.
SECONDS, PAUSE = 2.2, 4.0

STYLE = """
svg { --page: #ffffff; --band: #eef1f5; --ink: #1f2328; --soft: #57606a; --line: #d0d7de;
  --spike: #0072b2; --threshold: #c04a00; --early: #0072b2; --late: #00795a; --silent: #757b82; --winner: #c04a00; }
@media (prefers-color-scheme: dark) {
  svg { --page: #14181f; --band: #1f2630; --ink: #e6edf3; --soft: #9aa5b1; --line: #3a434e;
    --spike: #56b4e9; --threshold: #f39a5b; --early: #56b4e9; --late: #2fc79a; --silent: #8b949e; --winner: #f39a5b; }
}
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--soft); }
.name { fill: var(--ink); font-weight: 600; }
.decided { font-size: 46px; font-weight: 700; fill: var(--winner); }
.page { fill: var(--page); stroke: var(--line); } .band { fill: var(--band); } .axis { stroke: var(--line); }
path { fill: none; stroke-linecap: round; stroke-linejoin: round; }
.spikes { stroke: var(--spike); stroke-width: 2.4; }
.threshold { stroke: var(--threshold); stroke-width: 1.5; stroke-dasharray: 5 4; }
.early { stroke: var(--early); } .late { stroke: var(--late); } .silent { stroke: var(--silent); }
.early, .late, .silent { stroke-width: 1.7; }
.dot { stroke-width: 7; } .class { stroke: var(--silent); stroke-width: 1.1; }
.winner { stroke: var(--winner); stroke-width: 2.4; } .cursor { stroke: var(--ink); opacity: 0; }
"""


def drawn(passage: Passage, *, moving: bool) -> str:
    """The picture's text. Still: every spike. Moving: the potentials, too, uncovered as time goes on."""
    rows: list[str] = []
    labels: list[str] = []
    y = TOP
    rows.append(_spikes(passage.pixel_spikes, y, 8 * PIXEL))
    labels.append(_pixels(passage, y, moving))
    y += 8 * PIXEL + GAP
    for window, layer in enumerate(passage.layers, 1):
        labels.append(_label(layer, y))
        rows.append(_spikes(layer.spikes, y, RASTER))
        if window == 1:
            labels.append(_legend(layer, y, moving))
        y += RASTER
        if moving:
            rows.append(_potentials(layer.traces, window, y + 4))
            labels.append(_text(_x(window - 1) - 8, y + 4 + POTENTIAL / 2, "potentials", "end"))
            y += POTENTIAL + 4
        y += GAP
    rows.append(_readout(passage, y))
    labels.append(
        _text(12, y + 16, "readout", "start", "name") + _text(12, y + 32, f"{len(passage.readout)} potentials")
    )
    height = y + READOUT + 34
    body = "".join(rows)
    answer = _text(WIDTH - 39, y + 44, passage.name, "middle", "decided") + _text(
        WIDTH - 39, y + 62, "decided", "middle"
    )
    frame = _frame(passage, y + READOUT)
    style, cover = STYLE, ""
    if moving:
        style += _motion(passage)
        plot = passage.windows * WINDOW
        past = f'<rect class="past" x="{LEFT - 4}" y="0" width="{plot + 8}" height="{height}"/>'
        cover = f'<clipPath id="past">{past}</clipPath>'
        body = f'<g clip-path="url(#past)">{body}</g>'
        body += f'<path class="cursor" d="M{LEFT} {TOP - 6}V{y + READOUT}"/>'
        answer = f'<g class="answer">{answer}</g>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-labelledby="title description"><title id="title">{_title(passage)}</title>'
        f'<desc id="description">{_description(passage)}</desc><style>{style}</style>'
        f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>'
        f"{cover}{frame}{''.join(labels)}{body}{answer}</svg>\n"
    )


def _title(passage: Passage) -> str:
    return f"Every layer spikes in its own window, and the network decides: {passage.name}"


def _description(passage: Passage) -> str:
    rates = ", ".join(f"{layer.name} {100 * layer.rate:.0f} %" for layer in passage.layers)
    return (
        "A digit's pixels spike in the first window, bright ones early. Then one layer after the other spikes in a "
        f"window of its own: {rates} of the neurons. In the last window the readout's potentials rise, and the largest "
        "is the answer."
    )


def _motion(passage: Passage) -> str:
    length = passage.windows * SECONDS + PAUSE
    end = 100 * passage.windows * SECONDS / length
    rules = [
        f".past {{ animation: past {length}s linear infinite; }}",
        f"@keyframes past {{ 0% {{ transform: translateX({-4 - passage.windows * WINDOW}px); }} "
        f"{end:.2f}%, 100% {{ transform: none; }} }}",
        f".cursor {{ animation: cursor {length}s linear infinite; }}",
        f"@keyframes cursor {{ 0% {{ opacity: 1; transform: none; }} {end:.2f}% {{ opacity: 1; "
        f"transform: translateX({passage.windows * WINDOW}px); }} {end + 0.01:.2f}%, 100% {{ opacity: 0; }} }}",
        f".answer {{ animation: answer {length}s step-end infinite; }}",
        f"@keyframes answer {{ 0% {{ opacity: 0; }} {end:.2f}%, 100% {{ opacity: 1; }} }}",
    ]
    for level in _levels(passage):
        seen = 100 * (1 - level) * SECONDS / length
        name = _level_class(level)
        rules.append(f".{name} {{ animation: {name} {length}s step-end infinite; }}")
        rules.append(f"@keyframes {name} {{ 0% {{ opacity: 0; }} {seen:.2f}%, 100% {{ opacity: 1; }} }}")
    rules.append("@media (prefers-reduced-motion: reduce) { svg * { animation: none !important; } }")
    return "\n".join(rules) + "\n"


def _frame(passage: Passage, bottom: float) -> str:
    names = ["", *(layer.name for layer in passage.layers), "readout"]
    parts = []
    for window, name in enumerate(names):
        if window % 2 == 0:
            height = _short(bottom - TOP + 6)
            parts.append(f'<rect class="band" x="{_x(window)}" y="{TOP - 6}" width="{WINDOW}" height="{height}"/>')
        label = f"window of {name}" if window else "the image's window"
        parts.append(_text(_x(window) + WINDOW / 2, TOP - 14, label, "middle"))
    for window in range(passage.windows + 1):
        parts.append(_text(_x(window), bottom + 18, str(window), "middle"))
    parts.append(f'<path class="axis" d="M{LEFT} {_short(bottom)}H{_x(passage.windows)}"/>')
    parts.append(_text(LEFT - 12, bottom + 18, "time, in windows", "end"))
    return "".join(parts)


def _pixels(passage: Passage, top: float, moving: bool) -> str:
    height, width = passage.pixels.shape
    left, size = 12, 8 * PIXEL / max(height, width)
    parts = [f'<rect x="{left}" y="{top}" width="{_short(width * size)}" height="{_short(height * size)}"/>']
    for level in _levels(passage):
        grey = round(255 * level)
        squares = "".join(
            f"M{_short(left + column * size)} {_short(top + row * size)}h{_short(size)}v{_short(size)}h-{_short(size)}z"
            for row, column in zip(*(passage.pixels == level).nonzero(), strict=True)
        )
        kind = f' class="{_level_class(level)}"' if moving else ""
        parts.append(f'<path{kind} style="fill:rgb({grey},{grey},{grey})" d="{squares}"/>')
    return "".join(parts)


def _label(layer: Layer, y: float) -> str:
    return (
        _text(12, y + 14, layer.name, "start", "name")
        + _text(12, y + 30, f"{layer.neurons:,} neurons")
        + _text(12, y + 46, f"{100 * layer.rate:.0f} % spike")
    )


def _legend(layer: Layer, y: float, moving: bool) -> str:
    """Right of the first layer's row, where nothing is drawn."""
    lines: list[tuple[float, str]] = [
        (14, f"a dot is a spike; of {layer.neurons:,} neurons {len(layer.spikes)} are drawn")
    ]
    if moving:
        down = RASTER - 10 + POTENTIAL / 2
        lines += [
            (down, "dashed: the threshold, which falls in the layer's own window"),
            (down + 16, "blue and green meet it, and spike; grey stays silent"),
        ]
    return "".join(_text(_x(2) + 10, y + down, text) for down, text in lines)


def _spikes(times: Floats, top: float, height: float) -> str:
    step = height / len(times)
    dots = [
        f"M{_short(_x(time))} {_short(top + step * (place + 0.5))}h0"
        for place, time in enumerate(times)
        if time < float("inf")
    ]
    return f'<path class="spikes" d="{"".join(dots)}"/>'


def _potentials(traces: tuple[Trace, ...], window: int, top: float) -> str:
    parts = [f'<path class="axis" d="M{_x(window - 1)} {_level(0, top)}H{_x(window + 1)}"/>']
    parts.append(f'<path class="threshold" d="M{_x(window)} {_level(1, top)}L{_x(window + 1)} {_level(0, top)}"/>')
    for kind, trace in zip(("early", "late", "silent"), traces, strict=True):
        points = [
            (_short(_x(time)), _level(value, top)) for time, value in zip(trace.times, trace.potential, strict=True)
        ]
        parts.append(_line(kind, points))
        if trace.spike is not None:
            parts.append(f'<path class="{kind} dot" d="M{points[-1][0]} {points[-1][1]}h0"/>')
    return "".join(parts)


def _readout(passage: Passage, top: float) -> str:
    ends = [trace.potential[-1] for trace in passage.readout]
    low = min(float(trace.potential.min()) for trace in passage.readout)
    high = max(float(trace.potential.max()) for trace in passage.readout)
    parts = []
    for trace in sorted(passage.readout, key=lambda trace: float(trace.potential[-1])):
        points = [
            (_short(_x(time)), _short(top + READOUT * (high - value) / (high - low)))
            for time, value in zip(trace.times, trace.potential, strict=True)
        ]
        parts.append(_line("winner" if trace.potential[-1] == max(ends) else "class", points))
    return "".join(parts)


def _line(kind: str, points: list[tuple[str, str]]) -> str:
    return f'<path class="{kind}" d="M{"L".join(f"{x} {y}" for x, y in points)}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    of_kind = f' class="{kind}"' if kind else ""
    at = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{_short(x)}" y="{_short(y)}"{at}{of_kind}>{text}</text>'


def _x(time: float) -> float:
    return LEFT + WINDOW * time


def _level(potential: float, top: float) -> str:
    return _short(top + POTENTIAL * (HIGH - potential) / (HIGH - LOW))


def _levels(passage: Passage) -> list[float]:
    return sorted({float(pixel) for pixel in passage.pixels.ravel() if pixel > 0}, reverse=True)


def _level_class(level: float) -> str:
    return f"l{round(255 * level)}"


def _short(value: float) -> str:
    return f"{round(float(value), 1):g}"
