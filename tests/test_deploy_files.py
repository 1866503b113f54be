"""The files in deploy/ are valid, fit each other, the code and docs/how-to/deploy.md, and stop workers gracefully."""

import configparser
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands
from django.urls import include, path, resolve

from orderhooks import conf, tasks

pytestmark = pytest.mark.once

PROJECT = Path(__file__).resolve().parent.parent
DEPLOY = PROJECT / "deploy"
PAGE = (PROJECT / "docs" / "how-to" / "deploy.md").read_text()
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
YAML = [*MANIFESTS, DEPLOY / "docker" / "compose.yaml"]
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text()
YAMLLINT = (
    "{extends: default, rules: {line-length: {max: 120}, document-start: disable, braces: disable, brackets: disable, "
    "comments: {min-spaces-from-content: 2}}}"
)
# The oldest version of Kubernetes that still gets fixes, and the newest whose schemas kubernetes-validate has.
OLDEST_KUBERNETES, MOST_EXPOSED = "1.31", 20
VARIABLES = set(re.findall(r"^([A-Z_]+)=", (DEPLOY / "shop.env.example").read_text(), re.MULTILINE))

relative = pytest.mark.parametrize("file", YAML, ids=lambda file: file.name)
unit = pytest.mark.parametrize("file", UNITS, ids=lambda file: file.name)


@pytest.fixture
def tool(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Run a linter; fails with what it prints. Skips where it is not installed."""

    def run(name: str, *arguments: object, installed_by: str = "the extra `test`") -> None:
        # Those of PyPI are beside the interpreter.
        program = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
        if program is None:
            pytest.skip(f"{name} is not installed; {installed_by} brings it")
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def documents(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text()))


def of_kind(kind: str, name: str) -> dict[str, Any]:
    [found] = [
        document
        for file in MANIFESTS
        for document in documents(file)
        if (document["kind"], document["metadata"]["name"]) == (kind, name)
    ]
    return found


def pod(kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = of_kind(kind, name)["spec"]["template"]["spec"]
    return found


def service_of(file: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(file.read_text())
    return dict(parser["Service"])


def settings_block() -> str:
    found = re.search(r"```python\n(# settings\.py.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def q_cluster_timeout() -> int:
    found = re.search(r'"timeout": (\d+)', settings_block())
    assert found
    return int(found[1])


@relative
def test_yaml_is_tidy(file: Path, tool) -> None:
    assert documents(file)
    tool("yamllint", "--strict", "--config-data", YAMLLINT, file)


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
@pytest.mark.parametrize("version", [["--kubernetes-version", OLDEST_KUBERNETES], []], ids=["oldest", "newest"])
def test_manifests_fit_the_schemas_of_kubernetes(file: Path, version: list[str], tool) -> None:
    tool("kubernetes-validate", "--strict", *version, file)


def test_the_compose_file_fits_its_schema(tool) -> None:
    tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "docker" / "compose.yaml")


def test_the_dockerfile_has_no_fault_that_hadolint_knows(tool) -> None:
    tool("hadolint", DEPLOY / "docker" / "Dockerfile")


@unit
def test_systemd_takes_the_units_and_finds_them_hardened(file: Path, tmp_path: Path, tool) -> None:
    """With programs in a temporary folder, as systemd looks whether they are there."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("gunicorn", "python"):
        (programs / name).symlink_to(sys.executable)
    copy = tmp_path / file.name
    copy.write_text(file.read_text().replace("/srv/shop/.venv/bin", str(programs)))
    tool("systemd-analyze", "verify", "--man=no", copy, installed_by="Debian's package systemd")
    tool("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", copy)


def test_a_worker_is_given_more_time_than_a_turn_of_a_pump_and_its_attempts_take() -> None:
    longest = max(q_cluster_timeout(), conf.Settings().timeout_seconds + 2 * tasks.HAND_OVER_SECONDS)
    compose = documents(DEPLOY / "docker" / "compose.yaml")[0]["services"]
    stops = {
        "systemd": int(service_of(DEPLOY / "systemd" / "shop-worker.service")["TimeoutStopSec"]),
        "compose": int(compose["worker"]["stop_grace_period"].removesuffix("s")),
        "kubernetes": pod("Deployment", "shop-worker")["terminationGracePeriodSeconds"],
    }
    assert {name: seconds for name, seconds in stops.items() if seconds < longest + 10} == {}


def test_web_is_given_more_time_than_its_last_requests_take() -> None:
    web = service_of(DEPLOY / "systemd" / "shop-web.service")
    spec = pod("Deployment", "shop-web")
    sleep = int(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    graceful = re.findall(r'--graceful-timeout"?,? "?(\d+)', web["ExecStart"] + DOCKERFILE)
    assert len(graceful) == 2
    for seconds in map(int, graceful):
        assert int(web["TimeoutStopSec"]) > seconds
        assert spec["terminationGracePeriodSeconds"] > seconds + sleep
        assert int(documents(YAML[-1])[0]["services"]["web"]["stop_grace_period"].removesuffix("s")) > seconds


def test_only_the_leader_of_a_cluster_gets_sigterm() -> None:
    """No shell stands before a command: it would get SIGTERM and not pass it on."""
    worker = service_of(DEPLOY / "systemd" / "shop-worker.service")
    assert worker["KillMode"] == "mixed"
    compose = documents(DEPLOY / "docker" / "compose.yaml")[0]["services"]["worker"]
    commands = [
        shlex.split(worker["ExecStart"]),
        compose["command"],
        pod("Deployment", "shop-worker")["containers"][0]["command"],
    ]
    for command in commands:
        assert Path(command[0]).name == "python"
        assert command[1:] == ["manage.py", "qcluster"]
    assert compose["init"] is True
    assert re.findall(r"^CMD (.)", DOCKERFILE, re.MULTILINE) == ["["]


def test_commands_that_the_files_run_are_there() -> None:
    text = "\n".join(file.read_text() for file in [*YAML, *UNITS, DEPLOY / "docker" / "Dockerfile"])
    named = set(re.findall(r"python,? manage\.py,? ([a-z_]+)", text))
    assert named >= {"qcluster", "migrate", "orderhooks_status"}
    assert named <= set(get_commands())


def test_what_probes_ask_for_is_there() -> None:
    text = "\n".join(file.read_text() for file in YAML) + DOCKERFILE + PAGE
    paths = set(re.findall(r"/health/[a-z]+/", text))
    assert paths == {"/health/live/", "/health/ready/", "/health/worker/"}

    class Urls:
        urlpatterns = [path("health/", include("orderhooks.health.urls"))]

    for one in sorted(paths):
        resolve(one, urlconf=Urls)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "name"), [("Job", "shop-migrate"), ("Deployment", "shop-web"), ("Deployment", "shop-worker")]
)
def test_containers_are_not_root_and_take_secrets_by_reference(kind: str, name: str) -> None:
    spec = pod(kind, name)
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert f"USER {spec['securityContext']['runAsUser']}\n" in DOCKERFILE
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["envFrom"] == [{"secretRef": {"name": "shop"}}]
    assert "env" not in container


@pytest.mark.parametrize("name", ["shop-web", "shop-worker"])
def test_a_disruption_budget_is_about_the_pods_of_its_deployment(name: str) -> None:
    deployment, budget = of_kind("Deployment", name)["spec"], of_kind("PodDisruptionBudget", name)["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels == budget["selector"]["matchLabels"]
    assert deployment["replicas"] > budget["maxUnavailable"]


def test_no_file_holds_a_secret() -> None:
    filled = re.findall(
        r"^(\w*(?:KEY|PASSWORD|SECRET)\w*)=(.+)$", (DEPLOY / "shop.env.example").read_text(), re.MULTILINE
    )
    assert filled == []
    assert set(re.findall(r"\b(?:SECRET_KEY|ENCRYPTION_KEYS|DATABASE_PASSWORD)=(\S+)", DOCKERFILE)) == {
        "unused",
        "unused-unused-unused",
    }
    ignored = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().split()
    assert {"**/.git", "**/*.env", "**/*.key"} <= set(ignored)


def test_the_page_names_each_place_and_the_settings_read_each_value() -> None:
    for place in sorted(DEPLOY.iterdir()):
        assert f"`deploy/{place.name}{'/' if place.is_dir() else ''}`" in PAGE
    read = set(re.findall(r'os\.environ(?:\.get)?[\[(]"([A-Z_]+)"', settings_block()))
    assert read == VARIABLES - {"DJANGO_SETTINGS_MODULE"}
    collected = set(re.findall(r"\b([A-Z_]+)=", DOCKERFILE.partition("# Values")[2].partition("\nUSER")[0]))
    assert collected == read, "what `collectstatic` is given"


BEFORE = """
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "django_q", "orderhooks"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = __name__
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
urlpatterns = []
"""
# How long, and for which other hosts, browsers shall remember HTTPS is for the reader to decide.
LEFT_TO_THE_READER = ["security.W005", "security.W021"]


@pytest.mark.slow
@pytest.mark.parametrize("redis_url", ["", "redis://127.0.0.1:6379/0"])
def test_the_settings_pass_the_checks_for_deployment(tmp_path: Path, redis_url: str) -> None:
    for package in ["psycopg", *(["redis"] if redis_url else [])]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    silenced = f"SILENCED_SYSTEM_CHECKS = {LEFT_TO_THE_READER}\n"
    (tmp_path / "production.py").write_text(BEFORE + settings_block() + silenced)
    values = {name: f"a value of {name} long enough to be a key: 0123456789" for name in VARIABLES}
    values |= {"BASE_URL": "https://shop.example.com", "ALLOWED_HOSTS": "shop.example.com,localhost"}
    values |= {"DJANGO_SETTINGS_MODULE": "production", "REDIS_URL": redis_url}
    done = subprocess.run(
        [sys.executable, "-m", "django", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=tmp_path,
        env={**os.environ, **values, "PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
