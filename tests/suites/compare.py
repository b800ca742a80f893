"""Compares what a suite's tests gave directly and through pgshunt.

compare.py SUITE FOLDER                    lists every difference; 1 if README.md does not know one
compare.py --table FOLDER [--short] [--replicas] SUITE…   one line for each suite that has results
"""
import pathlib
import re
import sys

README = pathlib.Path(__file__).with_name("README.md")


def results(path):
    """What is in a file of lines "passed<TAB>test"."""
    if not path.exists():
        return {}
    lines = (line.split("\t", 1) for line in path.read_text().splitlines() if "\t" in line)
    return {test: outcome for outcome, test in lines}


def known(suite):
    """The rows "| suite | `test` | reason |" of README.md."""
    rows = re.findall(r"^\| *(\w+) *\| *`([^`]+)` *\| *(.*?) *\|$", README.read_text(), re.M)
    return {test: reason for of, test, reason in rows if of == suite}


def figures(outcomes):
    return "/".join(str(sum(1 for o in outcomes.values() if o == kind)) for kind in ("passed", "failed", "skipped"))


def compare(suite, folder):
    direct, through = results(folder / "direct"), results(folder / "through")
    reasons = known(suite)
    is_good = bool(direct) and bool(through)
    for test in sorted(direct.keys() | through.keys()):
        pair = direct.get(test, "absent"), through.get(test, "absent")
        if pair[0] == pair[1]:
            continue
        # Better through pgshunt than without is chance.
        is_worse = pair[0] == "passed"
        reason = reasons.get(test, "NOT KNOWN" if is_worse else "fails or is left out directly")
        is_good &= test in reasons or not is_worse
        print(f"{test}: directly {pair[0]}, through pgshunt {pair[1]}: {reason}")
    print(f"{suite}: directly {figures(direct)}, through pgshunt {figures(through)} (passed/failed/skipped)")
    return is_good


def table(root, kind, suites):
    print(f"{'suite':12}{'directly':>18}{'s':>6}{'through pgshunt':>18}{'s':>6}  pinned")
    for suite in suites:
        folder = root / (suite + kind)
        seconds = [re.sub(r"\D", "", text(folder / f"{place}.seconds")) for place in ("direct", "through")]
        counts = [int(n) for n in re.findall(r"\d+", text(folder / "pinned"))[:2]]
        pinned = f"{counts[1] / counts[0]:.1%} of {counts[0]}" if counts and counts[0] else "-"
        places = [figures(results(folder / place)) for place in ("direct", "through")]
        print(f"{suite:12}{places[0]:>18}{seconds[0]:>6}{places[1]:>18}{seconds[1]:>6}  {pinned}")


def text(path):
    return path.read_text() if path.exists() else ""


if sys.argv[1] == "--table":
    words = sys.argv[3:]
    kind = "".join(word[1:] for word in ("--short", "--replicas") if word in words)
    table(pathlib.Path(sys.argv[2]), kind, [word for word in words if not word.startswith("--")])
else:
    sys.exit(not compare(sys.argv[1], pathlib.Path(sys.argv[2])))
