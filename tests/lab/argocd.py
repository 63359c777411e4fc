"""Argo CD, an add-on of the lab: built from its Go module, run as programs in the control plane's network.

redis, repo-server, application controller and ApplicationSet controller: what reads Git and syncs. Neither the API
server with its pages nor dex. They take Git repositories of this machine (file://). ``down`` ends them as it ends
everything in the lab's networks; what they leave in the cluster is gone with it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from tests.lab import control, deps, digest, pki, versions
from tests.lab.deps import GO_TOOLS
from tests.lab.errors import LabError
from tests.lab.inside import in_control
from tests.lab.paths import Lab
from tests.lab.proc import ADDON, Console, Word, component_log, components, output, start, stop, succeeds
from tests.patience import CEILING_S

MODULE = "github.com/argoproj/argo-cd/v3"
TOOL = GO_TOOLS / "argocd"
NAMESPACE = "argocd"
PROGRAM = "argocd"
STAMP = ".made-from"

CRDS = tuple(f"manifests/crds/{kind}-crd.yaml" for kind in ("application", "applicationset", "appproject"))
SETTINGS = tuple(
    f"manifests/base/config/argocd-{name}.yaml"
    for name in ("cm", "cmd-params-cm", "rbac-cm", "secret", "ssh-known-hosts-cm", "tls-certs-cm", "gpg-keys-cm")
)
# The repo-server asks them about every revision, also where no signature is wanted.
SCRIPTS = ("hack/git-verify-wrapper.sh", "hack/gpg-wrapper.sh")

# Put on the objects of hooks while a sync runs.
HOOK_FINALIZER = "argocd.argoproj.io/hook-finalizer"
HOOK_KINDS = ("jobs", "serviceaccounts", "roles", "rolebindings", "clusterroles", "clusterrolebindings")

REDIS = "127.0.0.1:6379"
REPO_SERVER = "127.0.0.1:8081"

# --- build


def ldflags() -> str:
    return f"-s -w -X {MODULE}/common.version={versions.ARGOCD} -X {MODULE}/common.buildDate=1970-01-01T00:00:00Z"


def build_digest() -> str:
    kept = (*CRDS, *SETTINGS, *SCRIPTS)
    return digest.of_files([TOOL / "go.mod", TOOL / "go.sum"], versions.ARGOCD_GO, ldflags(), *kept)


def is_built(lab: Lab) -> bool:
    return digest.stamped(lab.argocd / STAMP, build_digest())


def build(c: Console, lab: Lab) -> None:
    """The program, and what of its module is used when it runs."""
    env = {**deps.go_env(), "GOTOOLCHAIN": versions.ARGOCD_GO}
    with tempfile.TemporaryDirectory(dir=lab.home) as tmp:
        new = Path(tmp) / "new"
        c.say("downloading Go modules")
        c.run(["go", "mod", "download"], cwd=TOOL, env=env, timeout_s=3 * CEILING_S)
        c.say(f"building Argo CD {versions.ARGOCD}")
        words: list[Word] = ["-ldflags", ldflags(), "-o", new / PROGRAM, f"{MODULE}/cmd"]
        c.run(["go", "build", *words], cwd=TOOL, env=env, timeout_s=12 * CEILING_S)
        module = Path(output(["go", "-C", TOOL, "list", "-m", "-f", "{{.Dir}}", MODULE], env=env).strip())
        for name in (*CRDS, *SETTINGS, *SCRIPTS):
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(module / name, new / name)
        (new / STAMP).write_text(build_digest() + "\n")
        shutil.rmtree(lab.argocd, ignore_errors=True)
        new.rename(lab.argocd)


# --- run


def _state(lab: Lab) -> Path:
    return lab.run / "argocd"


def begin(c: Console, lab: Lab) -> None:
    """Installs and starts it; what an earlier, killed run left is taken away first.

    Raises: LabError when it was not built, or does not come up.
    """
    if not is_built(lab):
        raise LabError("Argo CD is not built: run `python -m tests.lab build argocd`")
    end(lab)
    _install(c, lab)
    _prepare(lab)
    _start(lab)
    c.until("the repo-server", lambda: _listens(lab, 8081))
    c.until("the controllers", lambda: _listens(lab, 8082) and _listens(lab, 8085))


def end(lab: Lab) -> None:
    """Stops it and takes its kinds and its namespace out of the cluster. Applications go without their objects."""
    for one in components(lab):
        if one.name.startswith(f"{ADDON}argocd-"):
            stop(lab, one)
    kinds = [f"{plural}.argoproj.io" for plural in ("applicationsets", "applications", "appprojects")]
    for kind in kinds:
        if succeeds(control.kubectl_argv(lab, "get", "crd", kind)):
            _let_go(lab, kind, "")
            control.kubectl(lab, "delete", "crd", kind, "--timeout=300s")
    for kind in HOOK_KINDS:
        _let_go(lab, kind, HOOK_FINALIZER)
    control.kubectl(lab, "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=300s")
    shutil.rmtree(_state(lab), ignore_errors=True)


def _let_go(lab: Lab, kind: str, finalizer: str) -> None:
    """Takes the finalizers off where this one (or any) is: nobody is there any more who would."""
    for item in control.get_json(lab, kind, "-A")["items"]:
        meta = item["metadata"]
        held = meta.get("finalizers") or []
        if finalizer in held or (held and not finalizer):
            none = json.dumps({"metadata": {"finalizers": None}})
            where = (*(("-n", meta["namespace"]) if "namespace" in meta else ()), kind, meta["name"])
            control.kubectl(lab, "patch", *where, "--type=merge", "-p", none)


def _install(c: Console, lab: Lab) -> None:
    apply = ("apply", "--server-side", "--force-conflicts")
    c.run(control.kubectl_argv(lab, *apply, *(w for f in CRDS for w in ("-f", str(lab.argocd / f)))))
    _apply(c, lab, _named("v1", "Namespace", NAMESPACE))
    files = (w for f in SETTINGS for w in ("-f", str(lab.argocd / f)))
    c.run(control.kubectl_argv(lab, "-n", NAMESPACE, *apply, *files))
    # The API server of Argo CD, which is not here, would make a key and the default project.
    secret = json.dumps({"stringData": {"server.secretkey": "only-for-the-lab-no-one-signs-in-here"}})
    patch = ("-n", NAMESPACE, "patch", "secret", "argocd-secret", "--type=merge", "-p", secret)
    c.run(control.kubectl_argv(lab, *patch))
    project = _named("argoproj.io/v1alpha1", "AppProject", "default", NAMESPACE) | {
        "spec": {
            "sourceRepos": ["*"],
            "destinations": [{"namespace": "*", "server": "*"}],
            "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
        }
    }
    # A kind is served a moment after its CRD was taken.
    c.until("the kinds of Argo CD", control.holds(lambda: _apply(c, lab, project)), every_s=1)


def _named(version: str, kind: str, name: str, namespace: str = "") -> dict[str, object]:
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": version, "kind": kind, "metadata": meta}


def _apply(c: Console, lab: Lab, thing: dict[str, object]) -> bool:
    control.apply_manifest(c, lab, json.dumps(thing))
    return True


def _prepare(lab: Lab) -> None:
    state = _state(lab)
    for name in ("bin", "home", "tmp", "tls", "ssh", "gpg", "plugins", "redis"):
        (state / name).mkdir(parents=True)
    for name in ("", "-repo-server", "-application-controller", "-applicationset-controller", "-git-ask-pass"):
        (state / "bin" / f"argocd{name}").symlink_to(lab.argocd / PROGRAM)  # it is what it is called
    for script in SCRIPTS:
        target = state / "bin" / Path(script).name
        shutil.copyfile(lab.argocd / script, target)
        target.chmod(0o755)
    (state / "bin" / "redis-server").symlink_to("/usr/bin/redis-check-rdb")  # likewise
    (state / "bin" / "helm").symlink_to(lab.bin / "helm")
    (state / "bin" / "kubectl").symlink_to(lab.bin / "kubectl")


def _env(lab: Lab) -> dict[str, str]:
    state = _state(lab)
    return {
        "PATH": f"{state}/bin:/usr/bin:/bin",
        "HOME": f"{state}/home",  # no settings of this machine's user
        "TMPDIR": f"{state}/tmp",
        "KUBECONFIG": str(pki.inner_kubeconfig(lab, "admin")),
        "NAMESPACE": NAMESPACE,
        "HOSTNAME": "argocd-application-controller-0",
        "ARGOCD_FAKE_IN_CLUSTER": "true",
        "ARGOCD_TLS_DATA_PATH": f"{state}/tls",
        "ARGOCD_SSH_DATA_PATH": f"{state}/ssh",
        "ARGOCD_GNUPGHOME": f"{state}/gpg",
        "ARGOCD_GPG_ENABLED": "false",
        "ARGOCD_PLUGINSOCKFILEPATH": f"{state}/plugins",
    }


def _start(lab: Lab) -> None:
    state, ns = _state(lab), in_control(lab)
    host, port = REDIS.split(":")
    redis = ["--bind", host, "--port", port, "--save", "", "--appendonly", "no", "--dir", f"{state}/redis"]
    to_repo_server = ["--repo-server-plaintext", "--loglevel", "info", "--logformat", "text"]
    programs: dict[str, list[str]] = {
        "redis-server": redis,
        "argocd-repo-server": [
            *("--address", "127.0.0.1", "--port", "8081", "--metrics-address", "127.0.0.1", "--metrics-port", "8084"),
            *("--redis", REDIS, "--disable-tls", "--client-ca-path", "", "--logformat", "text"),
        ],
        "argocd-application-controller": [
            *("--namespace", NAMESPACE, "--redis", REDIS, "--repo-server", REPO_SERVER, "--metrics-port", "8082"),
            *to_repo_server,
        ],
        "argocd-applicationset-controller": [
            *("--namespace", NAMESPACE, "--argocd-repo-server", REPO_SERVER),
            *("--metrics-addr", "127.0.0.1:8083", "--probe-addr", "127.0.0.1:8085", "--webhook-addr", "127.0.0.1:7000"),
            *to_repo_server,
        ],
    }
    for program, flags in programs.items():
        name = f"{ADDON}argocd-{program.removeprefix('argocd-')}"
        start(lab, name, [*ns, state / "bin" / program, *flags], env=_env(lab))


def _listens(lab: Lab, port: int) -> bool:
    dead = [c for c in components(lab) if c.name.startswith(f"{ADDON}argocd-") and not c.alive]
    if dead:
        raise LabError(f"{dead[0].name} has ended: {component_log(lab, dead[0].name)}")
    return bool(output([*in_control(lab), "ss", "-Hltn", f"sport = :{port}"]).strip())
