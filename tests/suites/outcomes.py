"""A pytest plugin: one line "passed<TAB>test" for each test, into the file that OUTCOMES names."""
import os

outcomes = {}


def pytest_runtest_logreport(report):
    # The worst of setup, call and teardown; a test that fails as expected has passed.
    seen = report.outcome
    if hasattr(report, "wasxfail"):
        seen = "passed"
    order = ("passed", "skipped", "failed")
    outcomes[report.nodeid] = max(outcomes.get(report.nodeid, "passed"), seen, key=order.index)


def pytest_sessionfinish():
    with open(os.environ["OUTCOMES"], "w") as file:
        file.writelines(f"{outcome}\t{test}\n" for test, outcome in sorted(outcomes.items()))
