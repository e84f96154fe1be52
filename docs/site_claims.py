"""The claims of the three papers by verdict, from what `jaxscale reproduce all` wrote.

`python docs/site_claims.py FOLDER` records the claims of a reproduction in `docs/claims.json`. The
page computes every verdict from the recorded numbers.
"""

import json
import math
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxscale.analysis import Claim
from jaxscale.papers import STUDIES

HERE = Path(__file__).resolve().parent
RECORD, USAGE = HERE / "claims.json", HERE / "usage.md"
ORDER = ("disagrees", "inconclusive", "out of range", "no verdict", "agrees")


def record(folder: Path) -> None:
    """Write the claims of a folder of `jaxscale reproduce all` to `RECORD`."""
    papers = {}
    for name in STUDIES:
        papers[name] = json.loads((folder / name / "claims.json").read_text())
        for claim in papers[name]:
            del claim["verdict"]
    RECORD.write_text(json.dumps(papers, indent=1, ensure_ascii=False) + "\n")


def recorded() -> dict[str, list[Claim]]:
    """Return the recorded claims of every paper, whose verdicts follow from their numbers."""
    papers = json.loads(RECORD.read_text())
    return {name: list(map(recorded_claim, claims)) for name, claims in papers.items()}


def recorded_claim(values: dict[str, Any]) -> Claim:
    """Return a claim from its recorded numbers; a verdict among them is dropped."""

    def number(value: float | None) -> float:
        return math.nan if value is None else value

    low, high = values["interval"]
    measured = {"measured": number(values["measured"]), "interval": (number(low), number(high))}
    return Claim(**{k: v for k, v in (values | measured).items() if k != "verdict"})


def by_verdict() -> str:
    """Return the part of a page: a table of counts, and a tab per verdict."""
    papers = recorded()
    counts = {name: Counter(str(c.verdict) for c in claims) for name, claims in papers.items()}
    shown = [v for v in ORDER if any(counts[name][v] for name in papers)]
    text = [f"| | {' | '.join(shown)} |", f"|---|{'---:|' * len(shown)}"]
    for name in papers:
        cells = " | ".join(str(counts[name][v]) for v in shown)
        text.append(f"| [{_title(name)}]({_page(name)}) | {cells} |")
    text += ["", "::::::{tab-set}"]
    for verdict in shown:
        total = sum(counts[name][verdict] for name in papers)
        text += [f":::::{{tab-item}} {verdict} ({total})\n", f"{_meaning(verdict)}\n"]
        text += _folded(papers, verdict)
        text.append(":::::")
    return "\n".join([*text, "::::::", ""])


def _folded(papers: dict[str, list[Claim]], verdict: str) -> Iterator[str]:
    """The claims with this verdict, folded, of every paper that has some."""
    for name, claims in papers.items():
        chosen = [c for c in claims if c.verdict == verdict]
        if chosen:
            yield f"::::{{dropdown}} {_title(name)}: {len(chosen)} of {len(claims)}"
            yield "" if verdict == ORDER[-1] else ":open:"
            by_source = defaultdict(list)
            for c in chosen:
                by_source[c.source].append(c)
            for source, same in by_source.items():
                yield f"\n*{source}*\n"
                yield from map(_item, same)
            yield "::::"


def _page(name: str) -> str:
    """The page of a study: that of its system, or its own."""
    return next(p for p in (f"systems/{name}.md", f"{name}.md") if (HERE / p).exists())


def _title(name: str) -> str:
    """The title of a study's page."""
    return (HERE / _page(name)).read_text().splitlines()[0].removeprefix("# ")


def _item(claim: Claim) -> str:
    low, high = claim.interval
    seeds = f"{low:.4g} to {high:.4g} over {claim.seeds} seeds" if claim.seeds else "exactly"
    return (
        f"- {claim.statement} (`{claim.id}`)\\\n"
        f"  predicted {claim.predicted:.4g} ± {claim.margin:.2g}, "
        f"measured **{claim.measured:.4g}** ({seeds}). "
        f"Margin: {claim.reason} (fixed {claim.margin_fixed})"
    )


def _meaning(verdict: str) -> str:
    """What a verdict means, as the page "read a claim" says it."""
    (meaning,) = re.findall(rf"^\| `{verdict}` \| (.*) \|$", USAGE.read_text(), re.M)
    return f"{meaning[0].upper()}{meaning[1:]}."


if __name__ == "__main__":
    record(Path(sys.argv[1]))
