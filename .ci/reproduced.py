"""Check what `jaxscale reproduce` wrote: `python .ci/reproduced.py {emergence,all} FOLDER`."""

import importlib
import json
import math
import re
import sys
from pathlib import Path

SYSTEMS = ("emergence", "sparse", "superposition", "streaming", "atlas")


def verdicts(folder: Path) -> dict[str, str]:
    """Return the verdict of every claim, and print how many agree."""
    claims = {c["id"]: c["verdict"] for c in json.loads((folder / "claims.json").read_text())}
    agree = list(claims.values()).count("agrees")
    print(f"{folder.name}: {len(claims)} claims, {agree} agree")
    return claims


def scores(folder: Path) -> dict:
    """Return the scores."""
    return json.loads((folder / "scores.json").read_text())


def check_agree(claims: dict[str, str], required: set[str]) -> None:
    """Check that every required claim is there and agrees."""
    others = {i: claims.get(i) for i in required if claims.get(i) != "agrees"}
    assert not others, f"claims that do not agree: {others}"


def check_ok(folder: Path) -> None:
    """Check that every run ended well."""
    statuses = scores(folder)["runs_by_status"]
    assert all(set(names) == {"ok"} for names in statuses.values()), statuses


def check_emergence(folder: Path) -> None:
    """Check the claims, the report and the scores of emergence."""
    assert (folder / "report.html").stat().st_size > 0
    claims = verdicts(folder)
    check_agree(claims, set(claims))
    assert {"emergence-time-all", "emergence-time-delta", "law-C-prefactor"} <= set(claims)
    score = scores(folder)["emergence_time"]
    assert len(score["half_point_per_seed"]) >= 8, score
    assert score["all_emerged"], score
    assert score["rms_delta"] <= 0.25, score


def check_sparse(folder: Path) -> None:
    """Check the claims and the runs of sparse regression."""
    claims = verdicts(folder)
    assert "disagrees" not in claims.values(), claims
    check_agree(claims, {
        "data-1-2", "data-0.5-3", "peak-sparse", "peak-dense", "frontier-data-first-1-2",
        "descent-ratio-1", "instability-samples", "instability-ratio", "relu-sparse",
        "plane-D-1-2", "relu-plane-D-1-2",
    })  # fmt: skip
    check_ok(folder)


def check_superposition(folder: Path) -> None:
    """Check the claims and the runs of superposition."""
    claims = verdicts(folder)
    kinds = ("sequential", "bottleneck", "tail", "initial")
    required = {i for i in claims if i.startswith(kinds)} | {"universal-spread"}
    pairs = ("1.1-0", "1.1-1", "1.5-0", "1.5-0.5", "2-0", "2-1")
    required |= {f"universal-{pair}" for pair in pairs}
    assert len(required) >= 32, required
    check_agree(claims, required)
    # from a small start nothing is universal: an agreement here would be news
    assert claims["small-start-spread-32"] == "disagrees", claims
    check_ok(folder)
    assert scores(folder)["bottleneck_distance"] < 1e-10


def check_streaming(folder: Path) -> None:
    """Check the claims of streaming regression; near the limit of stability runs may diverge."""
    claims = verdicts(folder)
    kinds = ("exact", "equivalent", "frontier", "phase", "momentum", "median", "decay", "noise",
             "batch", "bracket")  # fmt: skip
    required = {i for i in claims if i.startswith(kinds)} - {i for i in claims if "IVb" in i}
    required |= {"dana-0", "dana-0.2", "dana-0.62"}
    assert len(required) >= 60, required
    check_agree(claims, required)


def check_recorded(system: str, claims: list[dict]) -> None:
    """Check that the site shows these claims: `python docs/site_claims.py FOLDER` records them."""
    sys.path.insert(0, "docs")
    recorded = importlib.import_module("site_claims").recorded()[system]
    fixed = ("id", "statement", "source", "reason", "margin_fixed", "verdict")
    for one, other in zip(claims, (claim.to_dict() for claim in recorded), strict=True):
        differ = {n: (one[n], other[n]) for n in fixed if one[n] != other[n]}
        assert not differ, (one["id"], differ)
        assert math.isclose(one["predicted"], other["predicted"], rel_tol=1e-5), one["id"]


def check_page(folder: Path) -> None:
    """Check the page of all systems: complete, and loads nothing from elsewhere."""
    page = (folder / "report.html").read_text()
    for system in SYSTEMS:
        assert f'<section id="{system}">' in page, system
        assert (folder / system / "report.html").stat().st_size > 0, system
        claims = json.loads((folder / system / "claims.json").read_text())
        missing = [c["id"] for c in claims if f'id="{system}-{c["id"]}"' not in page]
        assert not missing, (system, missing)
        check_recorded(system, claims)
    assert page.count("<img ") >= 15, page.count("<img ")
    assert not [text for text in ("<script", "@import", "url(") if text in page]
    loads = re.findall(r'<(?:link|iframe|object|embed)|(?:src|srcset|data|action)="(?!data:)', page)
    assert not loads, loads
    links = set(re.findall(r'href="([^"#][^"]*)"', page))
    files = {link for link in links if (folder / link).is_file()}
    assert all(link.startswith("https://arxiv.org/abs/") for link in links - files), links
    assert len(files) >= 45, files  # every figure as SVG, PNG and CSV
    assert len(page) < 15e6, len(page)
    print(f"one page of {len(page) / 1e6:.1f} MB with every claim of every study")


if __name__ == "__main__":
    which, folder = sys.argv[1], Path(sys.argv[2])
    if which == "all":
        check_page(folder)
        check_sparse(folder / "sparse")
        check_superposition(folder / "superposition")
        check_streaming(folder / "streaming")
    else:
        check_emergence(folder)
