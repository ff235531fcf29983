"""The tables of docs/results.md from the study.json that `isal study` writes, one a data set.

    python3 configs/studies/table.py out/study/strategies/study.json [--against influence-batch]

The last column is that strategy less the strategy of the row, paired by seed, with its uncorrected p.
"""

import argparse
import json


def percent(figure, digits=1, sign=False):
    """Mean ± half the interval, of shares, in percent."""
    if figure is None or figure.get("interval") is None:
        return "-"
    half = (figure["interval"][1] - figure["interval"][0]) / 2
    plus = "+" if sign else ""
    return f"{100 * figure['mean']:{plus}.{digits}f} ± {100 * half:.{digits}f}"


def probability(p):
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def table(comparison, against):
    yield f"| strategy | seeds | mean accuracy, % | over random | p | labels saved, % | `{against}` over it |"
    yield "|---|---|---|---|---|---|---|"
    gains = {}
    for pair in comparison["pairs"]:
        if pair["gain"].get("interval") is None:
            continue
        low, high = pair["gain"]["interval"]
        turned = {"mean": -pair["gain"]["mean"], "interval": [-high, -low]}
        gains[pair["row"], pair["column"]] = pair["gain"], pair["p"]
        gains[pair["column"], pair["row"]] = turned, pair["p"]
    for arm in sorted(comparison["arms"], key=lambda arm: -arm["area"]["mean"]):
        over = arm.get("against_random") or {}
        gain, p = gains.get((against, arm["name"]), (None, None))
        last = "-" if gain is None else f"{percent(gain, sign=True)} ({probability(p)})"
        cells = [
            f"`{arm['name']}`",
            str(len(arm["seeds"])),
            percent(arm["area"]),
            percent(over.get("gain"), sign=True),
            probability(over["p_corrected"]) if over else "-",
            percent(over.get("labels_saved")),
            last,
        ]
        yield "| " + " | ".join(cells) + " |"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("study")
    arguments.add_argument("--against", default="influence-batch")
    options = arguments.parse_args()
    for setting in json.load(open(options.study))["settings"]:
        comparison = setting.get("comparison")
        if comparison:
            print(f"### {setting['name']} ({comparison['rounds']} rounds)\n")
            print("\n".join(table(comparison, options.against)), end="\n\n")


if __name__ == "__main__":
    main()
