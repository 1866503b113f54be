"""The matrix: the suite on each CPython, Django and database that the metadata claims. `make matrix`; see CORNERS.

    nox --list                      the names of the corners
    nox -s "suite(3.13-6.1-newest-postgres)" -- -k pump

Interpreters are those of PATH and of pyenv. Where one is missing the run fails: nothing is claimed that did not run.
"""

import itertools
import os
import pathlib
import shutil
from dataclasses import dataclass

import nox

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["suite"]
nox.options.error_on_missing_interpreters = True
nox.options.error_on_external_run = True
nox.options.download_python = "never"
nox.options.default_venv_backend = "uv|virtualenv"

# The Djangos, each with the CPythons that it runs on.
PYTHONS_OF = {
    "5.2": ("3.11", "3.12", "3.13"),
    "6.0": ("3.12", "3.13"),
    "6.1": ("3.12", "3.13"),
}
# What a corner needs beside an interpreter: the ports that have to answer, and the programs that tell why not.
SERVICES = {"sqlite": (), "postgres": (("PostgreSQL", 5432),), "mariadb": (("MariaDB", 3306),)}
EXTRAS = ("postgres", "mysql", "redis", "celery", "openapi", "metrics", "tracing", "demo")


@dataclass(frozen=True)
class Corner:
    """One run of the suite. `dependencies` are the newest, or the lowest that the metadata allows."""

    python: str
    django: str
    dependencies: str
    database: str
    redis: bool = False
    browser: bool = False

    def __str__(self) -> str:
        return f"{self.python}-{self.django}-{self.dependencies}-{self.database}"


# What CI runs: between them each CPython, each Django, each database, both ends of the dependencies.
CORNERS = (
    Corner("3.11", "5.2", "lowest", "sqlite"),
    Corner("3.13", "6.1", "newest", "postgres", redis=True, browser=True),
    Corner("3.12", "6.0", "newest", "mariadb"),
)


def _others() -> list[Corner]:
    pairs = [(python, django) for django, pythons in PYTHONS_OF.items() for python in pythons]
    every = [
        Corner(python, django, "newest", database, redis=database == "postgres")
        for (python, django), database in itertools.product(pairs, SERVICES)
    ]
    lowest = [Corner(pythons[0], django, "lowest", "sqlite") for django, pythons in PYTHONS_OF.items()]
    known = {str(corner) for corner in CORNERS}
    return [corner for corner in [*every, *lowest] if str(corner) not in known]


def _interpreters_of_pyenv() -> None:
    root = pathlib.Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    # Before PATH's, whose shims are there for versions that pyenv does not have switched on.
    newest_first = sorted(root.glob("versions/*/bin"), key=lambda path: _numbers(path.parent.name), reverse=True)
    os.environ["PATH"] = os.pathsep.join([*map(str, newest_first), os.environ["PATH"]])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


_interpreters_of_pyenv()


@nox.session
@nox.parametrize(
    "python,corner", [nox.param(corner.python, corner, id=str(corner)) for corner in (*CORNERS, *_others())]
)
def suite(session: nox.Session, corner: Corner) -> None:
    """The suite in one corner. Arguments after `--` go to pytest."""
    _install(session, corner)
    session.run(
        *("python", "-m", "pytest", "-n", os.environ.get("TEST_JOBS", "4"), "--dist", "loadgroup"),
        "--no-loadscope-reorder",
        # Those that `make test` has, and that would be the same here.
        *("--require-services", "-m", "not once"),
        *(() if corner.browser else ("--ignore=tests/browser",)),
        # They take ten minutes on MariaDB; the other corners and `make test` have them.
        *(("--ignore=tests/api/test_schemathesis.py", "--ignore=tests/queues") if corner.database == "mariadb" else ()),
        *session.posargs,
        env=_environment(corner),
    )


def _install(session: nox.Session, corner: Corner) -> None:
    django = f"django~={corner.django}.0"
    constraints = pathlib.Path(session.create_tmp()) / "constraints.txt"
    constraints.write_text(f"{django}\n")
    if corner.dependencies == "lowest":
        # The lowest of ours alone: the tools that test them are the newest.
        extras = itertools.chain.from_iterable(("--extra", extra) for extra in EXTRAS)
        session.run_install(
            *("uv", "pip", "compile", "pyproject.toml", *extras, "--resolution", "lowest-direct"),
            *("--python-version", corner.python, "--constraint", str(constraints), "--quiet", "--no-header"),
            *("--output-file", str(constraints.with_name("lowest.txt"))),
            external=True,
        )
        constraints = constraints.with_name("lowest.txt")
    # pip, as a test of the package builds an environment with it.
    session.install("pip", "--editable", f".[{','.join((*EXTRAS, 'test'))}]", "--constraint", str(constraints))


def _environment(corner: Corner) -> dict[str, str | None]:
    own: dict[str, str | None] = {"PYTHONPATH": ".", "DJANGO_SETTINGS_MODULE": None, "TEST_DATABASE": corner.database}
    # A Redis database for each corner that runs at the same time; the tests remove what they put there.
    own["TEST_REDIS_URL"] = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/13") if corner.redis else None
    return own


@nox.session
@nox.parametrize("python,django", [("3.11", "5.2"), ("3.12", "6.0"), ("3.13", "6.1")])
def oscar(session: nox.Session, django: str) -> None:
    """The tests of django-oscar; `make oscar` runs them with one Django. Arguments after `--` go to pytest."""
    session.install("--editable", ".[demo,oscar,oscar_test]", f"django~={django}.0")
    ignored = ("-W", "ignore::DeprecationWarning", "-W", "ignore::PendingDeprecationWarning")
    session.run(
        *("python", "-m", "pytest", "--ds=tests.oscar.settings", "tests/oscar", *ignored, *session.posargs),
        env={"PYTHONPATH": ".", "DJANGO_SETTINGS_MODULE": None},
    )


@nox.session(python=False)
def missing(session: nox.Session) -> None:
    """Fail if an interpreter or a service of the corners of CI is missing, and say which."""
    import socket

    absent = [f"CPython {one.python}" for one in CORNERS if not shutil.which(f"python{one.python}")]
    services = {service for corner in CORNERS for service in SERVICES[corner.database]}
    for name, port in sorted(services | {("Redis", 6379), ("RabbitMQ", 5672)}):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                absent.append(f"{name} on 127.0.0.1:{port}")
    if absent:
        session.error(f"Not here: {', '.join(absent)}. Install or start it and run again.")
