"""What the files of a deployment say of each other, which no schema knows. Called by check-manifests.sh, with what kustomize
made of the manifests where it is installed.

- The kustomizations name each file, and each name of a secret, a setting, a port, a service or a label leads somewhere.
- Each container is as locked up as the standard "restricted" and compose.yaml ask, and has limits.
- Each variable of ours that a file sets is one that a program of ours or nats.conf reads.
- What kustomize made: pods take the settings by the name with the hash, and an autoscaled deployment says no number.
"""

import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).parent.parent
KUBERNETES = ROOT / "deploy/kubernetes"
problems = []


def check(holds, problem):
    if not holds:
        problems.append(problem)


def load(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def known_variables():
    """Variables that programs declare (`env = "GLANCE_..."`, or by name in their sources) or nats.conf uses."""
    sources = [*ROOT.glob("services/*/src/**/*.rs"), *ROOT.glob("shared/runner/src/**/*.rs"), ROOT / "nats.conf"]
    return set(re.findall(r"GLANCE_[A-Z_]+", "\n".join(path.read_text() for path in sources)))


def check_kustomization(documents):
    for path in KUBERNETES.glob("**/kustomization.yaml"):
        (one,) = load(path)
        there = {file.name for file in path.parent.glob("*.yaml")} - {"kustomization.yaml", "secret.sample.yaml"}
        check(set(one["resources"]) == there, f"{path}: names {one['resources']}, there are {sorted(there)}")
    (kustomization,) = load(KUBERNETES / "kustomization.yaml")
    named = {image["name"] for image in kustomization["images"]}
    used = {container["image"] for _, _, container in containers(documents)}
    check(named == used, f"kustomization.yaml names the images {named}, the pods {used}")


def containers(documents):
    for document in documents:
        template = document.get("spec", {}).get("template") if document["kind"] in ("Deployment", "StatefulSet") else None
        for container in (template or {}).get("spec", {}).get("containers", []):
            yield document, template["spec"], container


def load_settings():
    """The generated ConfigMaps: the variables of each, by its name."""
    (kustomization,) = load(KUBERNETES / "kustomization.yaml")
    settings = {}
    for generator in kustomization["configMapGenerator"]:
        lines = [line for file in generator["envs"] for line in (KUBERNETES / file).read_text().splitlines()]
        settings[generator["name"]] = [line.partition("=")[0] for line in lines if line and not line.startswith("#")]
    return settings


def check_container(name, pod, container, by_kind, settings, variables):
    context, pod_context = container.get("securityContext", {}), pod.get("securityContext", {})
    check(context.get("allowPrivilegeEscalation") is False, f"{name}: allowPrivilegeEscalation")
    check(context.get("readOnlyRootFilesystem") is True, f"{name}: readOnlyRootFilesystem")
    check(context.get("capabilities") == {"drop": ["ALL"]}, f"{name}: capabilities")
    check(pod_context.get("runAsNonRoot") is True and pod_context.get("runAsUser", 0) > 0, f"{name}: runAsUser")
    check(pod_context.get("seccompProfile") == {"type": "RuntimeDefault"}, f"{name}: seccompProfile")
    check(pod.get("automountServiceAccountToken") is False, f"{name}: automountServiceAccountToken")
    check("memory" in container["resources"].get("limits", {}), f"{name}: no memory limit")
    check({"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys(), f"{name}: probes")
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        port = container[probe].get("httpGet", {}).get("port")
        check(port is None or port in ports, f"{name}: {probe} asks the port {port}")
    secrets = by_kind["Secret"]
    for source in container.get("envFrom", []):
        check(source["configMapRef"]["name"] in settings, f"{name}: {source}")
    for variable in container.get("env", []):
        key = variable.get("valueFrom", {}).get("secretKeyRef")
        check(not key or key["key"] in secrets[key["name"]]["stringData"], f"{name}: no {key} in secret.sample.yaml")
        known = variable["name"] in variables or not variable["name"].startswith("GLANCE_")
        check(known, f"{name}: nobody reads {variable['name']}")
    for volume in pod.get("volumes", []):
        for item in volume["secret"]["items"]:
            check(item["key"] in secrets[volume["secret"]["secretName"]]["stringData"], f"{name}: no {item} in secret.sample.yaml")


def check_kubernetes(variables):
    documents = [document for path in KUBERNETES.glob("**/*.yaml") for document in load(path) if "kustomize" not in document["apiVersion"]]
    by_kind, settings = in_kinds(documents), load_settings()
    check_kustomization(documents)
    pods = {}
    for document, pod, container in containers(documents):
        name = f"{document['kind']}/{document['metadata']['name']}"
        labels = document["spec"]["template"]["metadata"]["labels"]
        check(document["spec"]["selector"]["matchLabels"].items() <= labels.items(), f"{name}: selects other pods than its own")
        pods[labels["app.kubernetes.io/name"]] = {port["name"] for port in container["ports"]}
        check_container(name, pod, container, by_kind, settings, variables)
    for name, service in by_kind["Service"].items():
        target = service["spec"]["selector"]["app.kubernetes.io/name"]
        for port in service["spec"]["ports"]:
            check(port["targetPort"] in pods.get(target, ()), f"Service/{name}: no port {port['targetPort']} on {target}")
            check(port["targetPort"] != "metrics", f"Service/{name}: leads to metrics")
    for rule in by_kind["Ingress"]["glance"]["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            target = path["backend"]["service"]["name"]
            check(target in by_kind["Service"], f"Ingress: no service {target}")
    for name, budget in by_kind["PodDisruptionBudget"].items():
        check(budget["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] in pods, f"PodDisruptionBudget/{name}")
    for variable in (variable for names in settings.values() for variable in names):
        check(variable in variables, f"settings.env: nobody reads {variable}")


def in_kinds(documents):
    by_kind = {}
    for document in documents:
        by_kind.setdefault(document["kind"], {})[document["metadata"]["name"]] = document
    return by_kind


def check_built(path):
    """`path`: what kustomize made of the manifests."""
    documents = load(path)
    by_kind = in_kinds(documents)
    for document in documents:
        inside = document["kind"] == "Namespace" or document["metadata"].get("namespace") == "glance"
        check(inside, f"{path.name}: {document['kind']}/{document['metadata']['name']} is not in the namespace glance")
    for document, _, container in containers(documents):
        for source in container.get("envFrom", []):
            name = source["configMapRef"]["name"]
            check(name in by_kind["ConfigMap"], f"{path.name}: {document['metadata']['name']}: no ConfigMap {name}")
            check(name != "glance-settings", f"{path.name}: {document['metadata']['name']}: a change of the settings rolls no pod")
    for scaler in by_kind.get("HorizontalPodAutoscaler", {}).values():
        target = scaler["spec"]["scaleTargetRef"]
        check("replicas" not in by_kind[target["kind"]][target["name"]]["spec"], f"{path.name}: an apply undoes the autoscaler of {target['name']}")


def check_compose(variables):
    """Merged by YAML's own means only (anchors), as Compose reads it."""
    (compose,) = load(ROOT / "compose.yaml")
    own = {"GLANCE_FRONT_PROXIES", "GLANCE_BALANCER_CLIENT_CONNECTIONS_MAX"}
    for name, service in compose["services"].items():
        check(service.get("read_only") is True, f"compose.yaml: {name}: read_only")
        check(service.get("cap_drop") == ["ALL"] and "cap_add" not in service, f"compose.yaml: {name}: cap_drop")
        check(service.get("security_opt") == ["no-new-privileges:true"], f"compose.yaml: {name}: security_opt")
        check(re.fullmatch(r"[1-9]\d+:[1-9]\d+", service.get("user", "")), f"compose.yaml: {name}: user")
        for key in ("mem_limit", "pids_limit", "healthcheck", "restart", "logging", "stop_grace_period", "networks"):
            check(key in service, f"compose.yaml: {name}: {key}")
        check("ports" not in service or name == "balancer", f"compose.yaml: {name} opens a port")
        for variable in service.get("environment", {}):
            known = variable in variables | own or not variable.startswith("GLANCE_")
            check(known, f"compose.yaml: {name}: nobody reads {variable}")


def check_units(variables):
    for unit in (ROOT / "deploy/systemd").glob("*.service"):
        text = unit.read_text()
        set_here = set(re.findall(r"^Environment=(GLANCE_[A-Z_]+)=", text, re.MULTILINE))
        # What only the command line of the unit uses.
        in_flags = set(re.findall(r"\$\{(GLANCE_[A-Z_]+)\}", text))
        check(in_flags <= set_here, f"{unit.name}: its command uses {in_flags}, and it sets {set_here}")
        for variable in set_here - in_flags:
            check(variable in variables, f"{unit.name}: nobody reads {variable}")


def main(built):
    variables = known_variables()
    check_kubernetes(variables)
    for path in built:
        check_built(pathlib.Path(path))
    check_compose(variables)
    check_units(variables)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
