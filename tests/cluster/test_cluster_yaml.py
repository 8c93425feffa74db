"""The cluster folder, judged without a cloud: by Ray's schema, by the clouds' own, and by a mocked EC2."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RAY_UP = ("gpu", "gcp-gpu", "onprem")

# What Ray's providers read: its schema lets any other key pass, and a misspelt one does nothing.
PROVIDER_KEYS = {
    "aws": {"type", "region", "availability_zone", "cache_stopped_nodes", "security_group", "key_pair",
            "use_internal_ips", "cloudwatch", "aws_credentials", "disable_node_updaters"},
    "gcp": {"type", "region", "availability_zone", "project_id", "gcp_credentials", "use_internal_ips",
            "cache_stopped_nodes", "disable_node_updaters"},
    "local": {"type", "head_ip", "worker_ips", "external_head_ip", "coordinator_address"},
}


def read(name: str) -> dict:
    return yaml.safe_load((ROOT / "cluster" / f"{name}.yaml").read_text())


def check_by_ray(config: dict) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config
    validate_config(prepare_config(deepcopy(config)))


def unknown_provider_keys(config: dict) -> set[str]:
    return set(config["provider"]) - PROVIDER_KEYS[config["provider"]["type"]]


def check_node_config(config: dict) -> None:
    """Each node_config, by the cloud's own description of the call that Ray makes with it."""
    check = {"aws": aws_errors, "gcp": gcp_errors}[config["provider"]["type"]]
    errors = {name: check(node["node_config"]) for name, node in config["available_node_types"].items()}
    assert not any(errors.values()), errors


def aws_errors(node_config: dict) -> str:
    session = pytest.importorskip("botocore.session", reason="boto3 is in the test extra").get_session()
    from botocore.validate import ParamValidator
    shape = session.get_service_model("ec2").operation_model("RunInstances").input_shape
    return ParamValidator().validate({**node_config, "MinCount": 1, "MaxCount": 1}, shape).generate_report()


def gcp_errors(node_config: dict) -> str:
    discovery = pytest.importorskip("googleapiclient.discovery_cache",
                                    reason="google-api-python-client is in the test extra")
    import json
    schemas = json.loads(discovery.get_static_doc("compute", "v1"))["schemas"]
    return "; ".join(discovery_errors(node_config, schemas["Instance"], schemas, "node_config"))


def discovery_errors(value: object, schema: dict, schemas: dict, path: str) -> list[str]:
    """Where a value departs from a schema of Google's discovery format, in which any other key is a mistake."""
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    kinds = {"object": dict, "array": list, "string": (str, int), "boolean": bool, "integer": int, "number": float}
    if not isinstance(value, kinds[schema["type"]]):
        return [f"{path}: {type(value).__name__} for {schema['type']}"]
    if schema["type"] == "array":
        return [e for i, v in enumerate(value) for e in discovery_errors(v, schema["items"], schemas, f"{path}[{i}]")]
    if schema["type"] != "object":
        return [] if value in schema.get("enum", [value]) else [f"{path}: {value} is none of {schema['enum']}"]
    known = schema.get("properties", {})
    return ([f"{path}.{key} is unknown" for key in value.keys() - known.keys()]
            + [e for k in value.keys() & known.keys() for e in discovery_errors(value[k], known[k], schemas, f"{path}.{k}")])


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_accepts_the_yaml_and_we_know_its_provider_keys(name):
    config = read(name)
    check_by_ray(config)
    assert not unknown_provider_keys(config)
    if config["provider"]["type"] != "local":
        check_node_config(config)


@pytest.mark.parametrize("name", RAY_UP)
@pytest.mark.parametrize("place", ["top", "node type"])
def test_a_key_misspelt_where_ray_looks_fails(name, place):
    config = read(name)
    if place == "top":
        config["idle_timeout_minuts"] = 5
    elif "available_node_types" in config:
        config["available_node_types"]["gpu"]["max_worker"] = 8
    else:
        config["auth"] = {"ssh_usr": "lab"}
    with pytest.raises(Exception, match="max_worker|idle_timeout_minuts|ssh_usr"):
        check_by_ray(config)


@pytest.mark.parametrize("name", RAY_UP)
def test_a_key_misspelt_in_provider_which_ray_lets_pass_fails_with_us(name):
    config = read(name)
    config["provider"]["cache_stoped_nodes"] = False
    check_by_ray(config)
    assert unknown_provider_keys(config) == {"cache_stoped_nodes"}


@pytest.mark.parametrize(("name", "misspell"), [
    ("gpu", lambda node: node["InstanceMarketOptions"].update(MarktType="spot")),
    ("gpu", lambda node: node.update(InstanceTyp="g6.xlarge")),
    ("gcp-gpu", lambda node: node["scheduling"].update(preemptable=True)),
    ("gcp-gpu", lambda node: node.update(scheduling=[{"preemptible": True}])),
    ("gcp-gpu", lambda node: node["scheduling"].update(provisioningModel="SPOTTY")),
])
def test_a_key_misspelt_in_node_config_which_ray_lets_pass_fails_with_us(name, misspell):
    config = read(name)
    misspell(config["available_node_types"]["gpu"]["node_config"])
    check_by_ray(config)
    with pytest.raises(AssertionError):
        check_node_config(config)


@pytest.mark.parametrize("name", ["gpu", "gcp-gpu"])
def test_a_forgotten_cluster_ends_and_a_lost_spot_node_cannot_be_the_head(name):
    config = read(name)
    nodes = {key: node["node_config"] for key, node in config["available_node_types"].items()}
    assert config["available_node_types"]["head"]["resources"]["CPU"] == 0
    assert not {"InstanceMarketOptions", "scheduling"} & nodes["head"].keys()
    assert any("shutdown -h" in line for line in config["initialization_commands"])
    if name == "gpu":  # a stopped instance keeps its disk, and the disk its price
        assert config["provider"]["cache_stopped_nodes"] is False
        assert {node["InstanceInitiatedShutdownBehavior"] for node in nodes.values()} == {"terminate"}


@pytest.mark.parametrize("name", RAY_UP)
def test_what_is_mounted_is_small_and_there_and_enough_to_install_from(name):
    config = read(name)
    mounts = {remote: local for remote, local in config["file_mounts"].items() if not local.startswith("~")}
    assert all((ROOT / local).exists() for local in mounts.values())
    assert "." not in mounts.values(), "Ray reads all that is mounted, .venv and results included, at every ray up"
    packages = {p.name for p in ROOT.iterdir() if (p / "__init__.py").is_file() and p.name != "tests"}
    assert packages <= set(mounts.values())
    assert all(remote == f"~/lab/{local}" for remote, local in mounts.items())


def test_the_pins_are_for_any_device():
    """A pin like 2.13.0+cpu is on no public index, and on a GPU node it would be the wrong one."""
    pins = (ROOT / "constraints.txt").read_text()
    assert re.search(r"^torch==[\d.]+$", pins, flags=re.MULTILINE)
    assert not re.search(r"^[^#\n]+\+cpu", pins, flags=re.MULTILINE)


@pytest.mark.parametrize("name", RAY_UP)
def test_every_node_asks_for_the_token_and_leaves_memory_to_the_kernel(name):
    config = read(name)
    starts = [line for role in ("head", "worker") for line in config[f"{role}_start_ray_commands"] if "ray start" in line]
    assert len(starts) == 2
    for line in starts:
        assert "RAY_AUTH_MODE=token" in line and "RAY_memory_monitor_refresh_ms=0" in line
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert not any("nightly" in line or "ray-wheels" in line for line in str(config).split())


# The fields of a RayJob and their types as of KubeRay 1.5, written down from its API types; the pod
# templates are judged by the Kubernetes client's own models.
NAMES = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0}
POD = {"type": "object"}


def exactly(required: str, **properties: dict) -> dict:
    return {"type": "object", "additionalProperties": False, "required": required.split(), "properties": properties}


RAY_CLUSTER = exactly(
    "headGroupSpec",
    rayVersion={"type": "string"}, suspend={"type": "boolean"}, enableInTreeAutoscaling={"type": "boolean"},
    authOptions=exactly("mode", mode={"enum": ["token", "disabled"]}),
    autoscalerOptions=exactly("", version={"enum": ["v1", "v2"]}, idleTimeoutSeconds=COUNT, image={"type": "string"},
                              upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]}),
    headGroupSpec=exactly("template", rayStartParams=NAMES, template=POD,
                          serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
                          enableIngress={"type": "boolean"}),
    workerGroupSpecs={"type": "array", "items": exactly(
        "groupName template", groupName={"type": "string"}, replicas=COUNT, minReplicas=COUNT, maxReplicas=COUNT,
        numOfHosts=COUNT, rayStartParams=NAMES, template=POD)})
RAY_JOB = exactly(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"}, kind={"const": "RayJob"}, metadata={"type": "object"},
    spec=exactly(
        "entrypoint rayClusterSpec", entrypoint={"type": "string"}, rayClusterSpec=RAY_CLUSTER, metadata=NAMES,
        activeDeadlineSeconds=COUNT, backoffLimit=COUNT, ttlSecondsAfterFinished=COUNT,
        shutdownAfterJobFinishes={"type": "boolean"}, suspend={"type": "boolean"}, runtimeEnvYAML={"type": "string"},
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]}, submitterPodTemplate=POD,
        entrypointNumCpus={"type": "number"}, entrypointNumGpus={"type": "number"}))


def pods(job: dict) -> list[dict]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"]["template"], *(group["template"] for group in cluster["workerGroupSpecs"])]


def pod_errors(value: object, kind: str, path: str = "template") -> list[str]:
    """Where a value departs from a model of the Kubernetes client, in which any other key is a mistake."""
    models = pytest.importorskip("kubernetes.client.models", reason="kubernetes is in the test extra")
    if match := re.fullmatch(r"(list|dict)[\[(](?:str, )?(.*)[\])]", kind, flags=re.IGNORECASE):
        holder, inner = {"list": list, "dict": dict}[match[1].lower()], match[2]
        if not isinstance(value, holder):
            return [f"{path}: {type(value).__name__} for {kind}"]
        items = value.items() if holder is dict else enumerate(value)
        return [e for key, v in items for e in pod_errors(v, inner, f"{path}[{key}]")]
    if not kind.startswith("V1"):
        return [] if isinstance(value, {"str": str, "int": int, "bool": bool}[kind]) else [f"{path}: {value!r} for {kind}"]
    model = getattr(models, kind)
    types = {model.attribute_map[attribute]: kind for attribute, kind in model.openapi_types.items()}
    return ([f"{path}.{key} is unknown" for key in value.keys() - types.keys()]
            + [e for key in value.keys() & types.keys() for e in pod_errors(value[key], types[key], f"{path}.{key}")])


def test_the_rayjob_has_the_operators_fields_and_kubernetes_pods():
    job = read("kuberay")
    jsonschema.validate(job, RAY_JOB)
    assert [error for pod in pods(job) for error in pod_errors(pod, "V1PodTemplateSpec")] == []


@pytest.mark.parametrize("misspell", [
    lambda job: job["spec"].update(shutdownAfterJobFinish=True),
    lambda job: job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].update(maxReplica=8),
    lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
    lambda job: pods(job)[1]["spec"]["containers"][0].update(ressources={}),
    lambda job: pods(job)[1]["spec"]["containers"][0]["env"].append({"name": "A", "valu": "1"}),
    lambda job: pods(job)[1]["spec"]["containers"][0]["env"].append({"name": "A", "value": 1}),
])
def test_a_misspelt_rayjob_fails(misspell):
    job = read("kuberay")
    misspell(job)
    try:
        jsonschema.validate(job, RAY_JOB)
    except jsonschema.ValidationError:
        return
    assert [error for pod in pods(job) for error in pod_errors(pod, "V1PodTemplateSpec")]


def test_kuberay_runs_the_ray_that_the_project_is_tested_with():
    import ray
    text = (ROOT / "cluster" / "kuberay.yaml").read_text()
    assert read("kuberay")["spec"]["rayClusterSpec"]["rayVersion"] == ray.__version__
    assert re.findall(r"rayproject/ray:([\d.]+)-", text) == [ray.__version__]


def checkout(folder: Path) -> Path:
    """The checkout as far as a node needs it."""
    folder.mkdir()
    for local in read("onprem")["file_mounts"].values():
        if not local.startswith("~"):
            (folder / local).symlink_to(ROOT / local)
    return folder


@contextmanager
def mocked_ec2():
    """moto's server on a free port of loopback; yields its address."""
    pytest.importorskip("moto.server", reason="moto[server] is in the test extra")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                              env={**os.environ, "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"},
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@pytest.mark.slow
def test_ray_up_gets_as_far_as_ssh_on_a_mocked_ec2(tmp_path):
    """Catches what no schema does: a call that EC2 refuses, a role or rule that Ray fails to make."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is in the test extra")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 32)
    with mocked_ec2() as endpoint:
        environment = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
                       "AWS_DEFAULT_REGION": "us-west-2", "HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}
        client = {name: boto3.client(name, endpoint_url=endpoint, region_name="us-west-2", aws_access_key_id="test",
                                     aws_secret_access_key="test") for name in ("ec2", "iam")}
        image = client["ec2"].describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        config = tmp_path / "gpu.yaml"
        config.write_text((ROOT / "cluster" / "gpu.yaml").read_text().replace("ami-PASTE_IT_HERE", image))
        with (tmp_path / "out").open("w") as out:
            up = subprocess.Popen([str(Path(sys.executable).with_name("ray")), "up", "-y", str(config), "--no-config-cache"],
                                  cwd=checkout(tmp_path / "checkout"), env={**os.environ, **environment}, stdout=out,
                                  stderr=out, start_new_session=True)
        try:
            deadline = time.monotonic() + 300
            while "SSH still not available" not in (log := (tmp_path / "out").read_text()):
                assert up.poll() is None, log
                assert time.monotonic() < deadline, log
                time.sleep(1)
        finally:
            if up.poll() is None:
                os.killpg(up.pid, signal.SIGKILL)
                up.wait()
        [head] = [i for r in client["ec2"].describe_instances()["Reservations"] for i in r["Instances"]]
        tags = {tag["Key"]: tag["Value"] for tag in head["Tags"]}
        assert (tags["ray-node-type"], tags["ray-cluster-name"]) == ("head", "scaling-law-lab")
        assert (head["InstanceType"], head["ImageId"], head["State"]["Name"]) == ("m7i.xlarge", image, "running")
        assert "InstanceLifecycle" not in head, "the head must not be a spot instance"
        rules = [rule for group in head["SecurityGroups"] for rule in client["ec2"].describe_security_groups(
            GroupIds=[group["GroupId"]])["SecurityGroups"][0]["IpPermissions"]]
        from_outside = {rule.get("FromPort") for rule in rules if rule["IpRanges"]}
        assert from_outside == {22}, "only ssh may be reached from outside"
        assert client["iam"].list_attached_role_policies(RoleName="ray-autoscaler-v1")["AttachedPolicies"]
