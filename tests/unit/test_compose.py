"""docker-compose.yaml and Dockerfile, as far as they can be checked without a Docker engine."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys

import pytest
from cryptography.fernet import Fernet

from cp_ops.runtime.settings import Settings
from sandbox.services.solana import FEE_PAYER, RECEIVER
from sandbox.stripe_api import DEFAULT_KEY
from tests import compose
from tests.airflow_environment import REPOSITORY

CONNECTIONS = {
    "cp_app": "postgres",
    "cp_s3": "aws",
    "cp_kms": "generic",
    "smtp_default": "smtp",
    "stripe_default": "generic",
    "solana_default": "generic",
}
STAND_INS = {"s3", "smtp", "stripe", "solana"}
AIRFLOW_SERVICES = {"airflow-init", "api-server", "scheduler", "dag-processor", "triggerer"}
ONE_SHOTS = {"world", "airflow-init"}
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def env():
    """What `sh sandbox/new_env.sh > .env` gives."""
    done = subprocess.run(
        ["sh", "sandbox/new_env.sh"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return compose.parse_env(done.stdout)


@pytest.fixture(scope="module")
def services(env):
    return compose.load(env)["services"]


def pinned(package):
    text = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8")
    return re.search(rf"^{re.escape(package)}==(\S+)", text, re.MULTILINE)[1]


def test_it_follows_the_compose_specification():
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            str(compose.COMPOSE_FILE),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_check_can_fail(tmp_path):
    broken = tmp_path / "docker-compose.yaml"
    broken.write_text("services: {one: {imagine: nothing}}", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        str(broken),
    ]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_every_secret_is_required_and_generated(env):
    example = compose.parse_env((REPOSITORY / ".env.example").read_text(encoding="utf-8"))
    named = compose.variables_named()
    assert set(env) == set(example) == set(named)
    secrets = {name for name, value in example.items() if not value}
    assert secrets == {name for name, kind in named.items() if kind == ":?"}
    assert len({env[name] for name in secrets}) == len(secrets)
    assert all(re.fullmatch(r"[\w-]{43}=", env[name]) for name in secrets)
    Fernet(env["AIRFLOW_FERNET_KEY"])


def test_a_missing_secret_stops_compose(env):
    with pytest.raises(compose.MissingVariableError, match="CP_OPS_DB_PASSWORD"):
        compose.load({**env, "CP_OPS_DB_PASSWORD": ""})


def test_no_secret_is_in_the_file():
    for service in compose.load(None)["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD$|SECRET|_KEY$|SQL_ALCHEMY_CONN", name):
                assert ":?see .env.example}" in value, name


def test_git_ignores_the_env_file():
    assert (
        subprocess.run(["git", "check-ignore", "--quiet", ".env"], cwd=REPOSITORY, check=False).returncode
        == 0
    )


def test_the_connections_are_the_documented_ones_and_valid_json(services):
    environment = services["scheduler"]["environment"]
    found = {
        name.removeprefix("AIRFLOW_CONN_").lower(): json.loads(value)["conn_type"]
        for name, value in environment.items()
        if name.startswith("AIRFLOW_CONN_")
    }
    assert found == CONNECTIONS


def test_the_keys_in_it_are_the_stand_ins_own(services):
    environment = services["scheduler"]["environment"]
    solana = json.loads(environment["AIRFLOW_CONN_SOLANA_DEFAULT"])
    assert solana["password"] == str(FEE_PAYER)
    assert solana["extra"]["receiver_address"] == str(RECEIVER.pubkey())
    assert solana["extra"]["wallet_encryption_keys"] == [
        services["world"]["environment"]["SOLANA_WALLET_KEY"]
    ]
    Fernet(*solana["extra"]["wallet_encryption_keys"])
    assert json.loads(environment["AIRFLOW_CONN_STRIPE_DEFAULT"])["password"] == DEFAULT_KEY


@pytest.mark.parametrize("service", ["scheduler", "world"])
def test_the_settings_are_known_and_valid(services, service):
    prefix = "AIRFLOW__CP_OPS__"
    given = {
        name.removeprefix(prefix).lower(): value
        for name, value in services[service]["environment"].items()
        if name.startswith(prefix)
    }
    assert set(given) <= set(Settings.model_fields)
    assert Settings.load(given.get, {}).default_firm_kms_key_id


def test_the_options_of_airflow_are_known(services):
    from airflow.configuration import conf

    for name, value in services["api-server"]["environment"].items():
        if match := re.fullmatch(r"AIRFLOW__([A-Z_]+?)__([A-Z_]+)", name):
            section, option = (part.lower() for part in match.groups())
            assert isinstance(value, str), f"{name}: YAML would give Compose no text"
            if section != "cp_ops":
                assert conf.configuration_description[section]["options"][option], name


def test_hosts_in_urls_and_connections_are_services(services):
    texts = [str(value) for service in services.values() for value in service.get("environment", {}).values()]
    hosts = {host for text in texts for host in re.findall(r'"host": "([^"/]+)"', text)}
    hosts |= {host for text in texts for host in re.findall(r"(?:http://|@)([a-z0-9-]+):\d+", text)}
    assert hosts - {"localhost"} == {"postgres", "api-server"} | STAND_INS
    assert hosts - {"localhost"} <= set(services)


def test_the_image_has_the_airflow_that_the_requirements_pin():
    base = re.search(
        r"^FROM apache/airflow:slim-([\d.]+)-python([\d.]+) AS airflow$", DOCKERFILE, re.MULTILINE
    )
    assert base[1] == pinned("apache-airflow") == pinned("apache-airflow-core")
    assert tuple(map(int, base[2].split("."))) >= (3, 11)


def test_the_images_install_with_hashes_and_end_as_airflow():
    installs = [line for line in DOCKERFILE.splitlines() if "pip install" in line]
    assert len(installs) == 2
    assert all("--require-hashes" in line for line in installs)
    assert re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE) == ["airflow"]


def test_what_the_images_copy_is_in_the_repository_and_in_the_build_context():
    allowed = [
        line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    copied = re.findall(r"^COPY --chown=airflow:0 (\S+) ", DOCKERFILE, re.MULTILINE)
    assert sorted(copied) == sorted(allowed)
    assert all((REPOSITORY / path).exists() for path in copied)


def test_the_folders_of_the_volumes_are_made_by_the_image(services):
    """A volume over a folder that the image lacks would belong to root."""
    made = " ".join(re.findall(r"mkdir -p (.*?)(?: &&|$)", DOCKERFILE, re.MULTILINE))
    ours = {name: service for name, service in services.items() if "build" in service}
    for service in ours.values():
        for volume in service.get("volumes", []):
            assert volume.split(":")[1] in made


def test_modules_that_commands_run_exist(services):
    for service in services.values():
        command = service.get("command", [])
        if command[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(command[2]), command


def test_the_components_of_airflow_are_commands_of_airflow(services):
    from airflow.cli.cli_parser import ALL_COMMANDS_DICT

    for name in AIRFLOW_SERVICES - ONE_SHOTS:
        (command,) = services[name]["command"]
        assert command in ALL_COMMANDS_DICT


def test_every_service_is_watched_and_waited_for(services):
    assert set(services) == AIRFLOW_SERVICES | {"postgres", "world"} | STAND_INS
    for name, service in services.items():
        assert ("healthcheck" in service) == (name not in ONE_SHOTS), name
        for other, how in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if other in ONE_SHOTS else "service_healthy"
            assert how["condition"] == expected


def test_nothing_is_reachable_from_other_machines_or_runs_with_privileges(services):
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:8080:8080"]
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("user", "airflow") != "root"
        assert not service.get("privileged")


def test_airflow_wants_a_log_in(services):
    environment = services["api-server"]["environment"]
    assert "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS" not in environment
    assert environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] == "admin:admin"
