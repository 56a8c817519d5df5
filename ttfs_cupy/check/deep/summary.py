"""What a deep check ends with: a line for each stage, and below it what the stage has to say; !! needs attention."""

from collections.abc import Sequence

from ttfs_cupy.check.deep.ended import Ended
from ttfs_cupy.check.deep.notes import Finding

MOST_LINES, MOST_COLUMNS = 40, 180

# Of what a stage printed last, where it was cut off.
LAST = 2


def lines(ended: Sequence[Ended], seconds: float, budget: float) -> list[str]:
    """At most MOST_LINES; where there is more to say, what needs attention goes first, each stage in its turn."""
    wanted = [_said(one) for one in ended]
    heads = [_head(one) for one in ended]
    room = MOST_LINES - len(heads) - 1
    kept: list[list[str]] = [[] for _ in ended]
    for attention in (True, False):
        of_kind = [[_line(each) for each in said if each.attention == attention] for said in wanted]
        for turn in range(max(map(len, of_kind), default=0)):
            for number, texts in enumerate(of_kind):
                if turn < len(texts) and room:
                    kept[number].append(texts[turn])
                    room -= 1
    left_out = sum(map(len, wanted)) - sum(map(len, kept))
    return [
        *(line for head, texts in zip(heads, kept, strict=True) for line in (head, *texts)),
        _last_line(ended, seconds, budget, left_out),
    ]


def of_stage(one: Ended) -> list[str]:
    """All that there is to say about one, what needs attention first."""
    return [_head(one), *map(_line, sorted(_said(one), key=lambda finding: not finding.attention))]


def _head(one: Ended) -> str:
    detail = f" ({one.detail})" if one.detail else ""
    return f"{'!! ' if one.lost else '   '}{one.name:11} {one.how}{detail}, {one.seconds:.1f} s"[:MOST_COLUMNS]


def _said(one: Ended) -> list[Finding]:
    # one that failed by itself has said why
    last = [] if one.how == "failed" and one.findings else one.last[-LAST:]
    return [*one.findings, *(Finding(f"said last: {line}", attention=True) for line in last)]


def _line(finding: Finding) -> str:
    return f"{'!!' if finding.attention else '  '}     {finding.text}"[:MOST_COLUMNS]


def _last_line(ended: Sequence[Ended], seconds: float, budget: float, left_out: int) -> str:
    needy = [one.name for one in ended if one.needs_attention]
    missing = [one.name for one in ended if one.how == "skipped"]
    verdict = f"!! need attention: {', '.join(needy)}" if needy else "   nothing needs attention"
    skipped = f"; skipped: {', '.join(missing)}" if missing else ""
    more = f"; {left_out} lines more are in the report" if left_out else ""
    return f"{verdict}{skipped}; {seconds:.0f} of {budget:.0f} s{more}"
