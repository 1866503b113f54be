"""Rules and dashboard: they name what the view exports, `promtool` accepts them, and a real Prometheus reads it all."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from orderhooks import tasks
from orderhooks.health.exposition import families
from orderhooks.health.measures import Measures, Total
from orderhooks.health.metrics import MEASURES
from orderhooks.models import MetricTotal
from orderhooks.reporting.objectives import MONTH, Counts, Objective
from tests.factories import make_order, make_subscription
from tests.receivers import RecordingReceiver
from tests.servers import START_SECONDS, free_port

yaml: Any = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy" / "monitoring"
RULES = FOLDER / "orderhooks-rules.yml"
GUIDE = (ROOT / "docs" / "how-to" / "watch.md").read_text()
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "orderhooks-dashboard.json").read_text())
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
EXPRESSIONS = [rule["expr"] for rule in ALERTS] + [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
]


def exported() -> dict[str, set[str]]:
    """The names of all samples, each with the names of its labels."""
    one = {("order.paid", "2xx"): Total({10: 1}, 7)}
    measures = Measures(
        totals={metric.value: one for metric in MetricTotal.Metric},
        waiting={"deliveries": 1},
        oldest_waiting=1.0,
        oldest_due=1.0,
        unpublished=1,
        subscriptions={"active": 1},
        failing=1,
        circuits_open=1,
        since_pump=1.0,
        sweep_overdue=1.0,
        with_objective=1,
        objectives={"sub_1": Objective(60, 99.0, {window: Counts(1, 1) for window in ("5m", MONTH)})},
    )
    return {
        sample.name: set(sample.labels) for family in families(measures, broker_is_up=True) for sample in family.samples
    }


def promtool(service: Callable[[str], None], *arguments: object) -> str:
    if not shutil.which("promtool"):
        service("promtool is not installed")
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.once
class TestNames:
    def test_every_metric_in_the_files_is_exported_with_these_labels(self) -> None:
        samples = exported()
        used = set()
        for expression in EXPRESSIONS:
            for name, selector in re.findall(r"(orderhooks_\w+)(?:\{([^}]*)\})?", expression):
                assert name in samples, expression
                assert set(re.findall(r"(\w+)(?:=|!)", selector)) <= samples[name], expression
                used.add(name)
        assert len(used) > 12

    def test_what_an_expression_groups_by_is_a_label_of_its_metrics(self) -> None:
        samples = exported()
        for expression in EXPRESSIONS:
            known = set().union(*(samples[name] for name in re.findall(r"orderhooks_\w+", expression)))
            for group in re.findall(r"\bby \(([^)]*)\)", expression):
                assert set(group.split(", ")) <= known, expression

    def test_no_expression_adds_up_over_the_scraped_processes(self) -> None:
        # Each shows the numbers of the whole store. What is added up was reduced to one of each before.
        for expression in EXPRESSIONS:
            for inner in re.findall(r"\bsum(?: by \([^)]*\))? ?\((\w+)", expression):
                assert inner == "max", expression

    def test_every_metric_is_in_the_guide(self) -> None:
        names = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported()}
        assert names == set(re.findall(r"^\| `(orderhooks_\w+)`", GUIDE, re.MULTILINE))

    def test_every_alert_has_a_remedy_in_the_guide(self) -> None:
        remedies = GUIDE.partition("## Alerts")[2]
        assert [rule["alert"] for rule in ALERTS] == re.findall(r"^\| `(Orderhooks\w+)`", remedies, re.MULTILINE)

    def test_every_alert_says_what_is_wrong_and_how_urgent_it_is(self) -> None:
        for rule in ALERTS:
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert set(rule["annotations"]) == {"summary", "description"}

    def test_the_panels_have_places_of_their_own(self) -> None:
        panels = DASHBOARD["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        cells = [
            (column, row)
            for place in (panel["gridPos"] for panel in panels)
            for column in range(place["x"], place["x"] + place["w"])
            for row in range(place["y"], place["y"] + place["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(column for column, _row in cells) < 24

    def test_the_dashboard_works_with_any_data_source(self) -> None:
        [variable] = DASHBOARD["templating"]["list"]
        assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
        for panel in DASHBOARD["panels"]:
            assert panel["datasource"]["uid"] == f"${{{variable['name']}}}"


@pytest.mark.once
class TestPromtool:
    def test_it_accepts_the_rules(self, service) -> None:
        assert f"{len(ALERTS)} rules found" in promtool(service, "check", "rules", RULES)

    def test_the_rules_fire_when_they_should(self, service) -> None:
        promtool(service, "test", "rules", FOLDER / "orderhooks-rules-test.yml")

    def test_it_accepts_the_dashboard_s_expressions(self, service, tmp_path: Path) -> None:
        rules = [
            {"record": f"panel:{number}", "expr": target["expr"].replace("$__rate_interval", "5m")}
            for number, target in enumerate(target for panel in DASHBOARD["panels"] for target in panel["targets"])
        ]
        path = tmp_path / "panels.yml"
        path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
        assert f"{len(rules)} rules found" in promtool(service, "check", "rules", path)


class Prometheus:
    """A server with the rules that ship, which scrapes one target each second."""

    def __init__(self, folder: Path, target: str, token: str) -> None:
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {
                    "job_name": "orderhooks",
                    "metrics_path": "/health/metrics/",
                    "authorization": {"credentials": token},
                    "static_configs": [{"targets": [target]}],
                }
            ],
        }
        path = folder / "prometheus.yml"
        path.write_text(json.dumps(config))
        self.log = folder / "prometheus.log"
        self._start(folder, path)
        # Another program may have taken the port meanwhile.
        while not self._listens():
            self._start(folder, path)

    def _listens(self) -> bool:
        """Whether it has begun to listen; False if it has ended instead."""
        while self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
                return True
            time.sleep(0.1)
        if "address already in use" not in self.log.read_text():
            raise AssertionError(f"Prometheus has ended: {self.log.read_text()[-2000:]}")
        return False

    def _start(self, folder: Path, path: Path) -> None:
        self.port = free_port()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={path}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )

    def query(self, expression: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self.port}/api/v1/query?{urlencode({'query': expression})}"
        try:
            with urlopen(url, timeout=5) as response:
                found: list[dict[str, Any]] = json.load(response)["data"]["result"]
                return found
        except OSError:
            return []

    def wait_for(self, expression: str) -> dict[str, Any]:
        """The first sample of an expression, once there is one."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if found := self.query(expression):
                return found[0]
            time.sleep(0.1)
        raise AssertionError(f"{expression} has no sample: {self.log.read_text()[-2000:]} {self.query('up')}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(START_SECONDS)


@pytest.fixture
def prometheus(settings, live_server, tmp_path: Path, service) -> Iterator[Prometheus]:
    if not shutil.which("prometheus"):
        service("prometheus is not installed")
    token = "a-token-that-is-long-enough"
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "METRICS_TOKEN": token}
    MEASURES.forget()
    server = Prometheus(tmp_path, live_server.url.removeprefix("http://"), token)
    yield server
    server.stop()
    MEASURES.forget()


@pytest.mark.slow
def test_a_real_prometheus_scrapes_it_and_raises_an_alarm(prometheus: Prometheus, receiver: RecordingReceiver) -> None:
    prometheus.wait_for("up == 1")
    # No worker was ever seen.
    prometheus.wait_for('ALERTS{alertname="OrderhooksWorkerMissing"}')
    make_subscription(url=receiver.url, topics=["order.created"])
    make_order()
    tasks.pump()
    sample = prometheus.wait_for('orderhooks_attempts_total{topic="order.created",outcome="2xx"} == 1')
    assert set(sample["metric"]) == {"__name__", "instance", "job", "topic", "outcome"}
    prometheus.wait_for("histogram_quantile(0.95, orderhooks_attempt_duration_seconds_bucket) > 0")
    prometheus.wait_for("min(orderhooks_pump_seen_seconds_ago) < 60")
    prometheus.wait_for('absent(ALERTS{alertname="OrderhooksWorkerMissing"})')
