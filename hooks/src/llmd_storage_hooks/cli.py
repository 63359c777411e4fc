# SPDX-License-Identifier: Apache-2.0
"""The command line: arguments in, exit code out.

Exit codes: 0 pass (warnings allowed), 1 fail, 2 usage or bad config, 3 inconclusive.
"""

from __future__ import annotations

import secrets
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llmd_storage_hooks.claim.config import ClaimConfig
from llmd_storage_hooks.core.arguments import NAMESPACE, Arguments
from llmd_storage_hooks.core.decoding import encode
from llmd_storage_hooks.core.result import HookResult
from llmd_storage_hooks.core.runner import run_hook, usage_error
from llmd_storage_hooks.preflight.config import PreflightConfig
from llmd_storage_hooks.probe.config import ProbeConfig
from llmd_storage_hooks.probe.job import manifest as job
from llmd_storage_hooks.proof.config import ProofConfig

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


class OutputForm(StrEnum):
    """What follows the table on standard output."""

    TABLE = "table"
    JSON = "json"
    JUNIT = "junit"


ConfigOption = Annotated[
    str, typer.Option("--config", help="The config as JSON, or @file.json: what the chart passes.")
]
ValuesOption = Annotated[
    list[Path] | None, typer.Option("--values", "-f", help="The chart's values; helm renders the config from them.")
]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="As helm's --set, with -f.")]
ChartOption = Annotated[str, typer.Option("--chart", help="With -f: the chart, as helm takes it.")]
ReleaseOption = Annotated[str, typer.Option("--release", help="Name of the release.")]
NamespaceOption = Annotated[str, typer.Option("--namespace", "-n", help="Its namespace.")]
OutputOption = Annotated[
    OutputForm, typer.Option("--output", "-o", help="json, junit: the whole report as the last line.")
]
CHART = "charts/llm-d-storage"


def examples(*lines: str) -> str:
    """An epilog of commands, one paragraph each."""
    return "Examples:\n\n" + "\n\n".join(f"    {' '.join(line.split())}" for line in lines)


@app.command(
    epilog=examples(
        "llmd-storage-hooks preflight -f my-values.yaml --release cache --namespace default",
        """llmd-storage-hooks preflight --config
        '{"release": "kv", "namespace": "default", "storage": {"storageClassName": "cephfs"}}'""",
        "llmd-storage-hooks preflight -f my-values.yaml -n default -o junit | tail -1 > preflight.xml",
    )
)
def preflight(
    *,
    config: ConfigOption = "",
    values: ValuesOption = None,
    settings: SetOption = None,
    chart: ChartOption = CHART,
    release: ReleaseOption = "",
    namespace: NamespaceOption = "",
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Before the install: can this cluster and this storage carry a shared cache at all? Reads only."""
    from llmd_storage_hooks.preflight.run import run

    arguments = Arguments(
        config=config,
        values=values or (),
        settings=settings or (),
        chart=chart,
        release=release,
        namespace=namespace,
    )
    run_hook("preflight", PreflightConfig, run, arguments, form=output)


@app.command(
    epilog=examples(
        "llmd-storage-hooks claim --claim kv-kv-cache --namespace default",
        "llmd-storage-hooks claim -f my-values.yaml --release cache --namespace default",
    )
)
def claim(
    *,
    config: ConfigOption = "",
    values: ValuesOption = None,
    settings: SetOption = None,
    chart: ChartOption = CHART,
    release: ReleaseOption = "",
    namespace: NamespaceOption = "",
    name: Annotated[str | None, typer.Option("--claim", help="The claim to watch.")] = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """On the claim, from outside: wait until it is bound and mounted, or say why it is not. Reads only."""
    from llmd_storage_hooks.claim.run import run

    arguments = Arguments(
        config=config,
        values=values or (),
        settings=settings or (),
        chart=chart,
        release=release,
        namespace=namespace,
    )
    options = {"claimName": name}
    run_hook("claim", ClaimConfig, run, arguments, form=output, options=options, sufficient=name is not None)


@app.command(
    epilog=examples(
        "llmd-storage-hooks probe --claim my-claim --namespace default --image REGISTRY/llm-d-storage:0.1.0",
        "llmd-storage-hooks probe --claim my-claim -n default --image IMAGE --yes --output json | tail -1 > probe.json",
        """PROBE_RUN_ID=1 JOB_COMPLETION_INDEX=0 NODE_NAME=a llmd-storage-hooks probe --config
        '{"release": "kv", "namespace": "default", "path": "/mnt/kv-cache"}' (and index 1 on another node)""",
    )
)
def probe(
    *,
    config: ConfigOption = "",
    name: Annotated[str, typer.Option("--claim", help="Make a Job of two pods that probe this claim.")] = "",
    image: Annotated[str, typer.Option(help="With --claim: the project's image.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --claim: do not ask first.")] = False,
    user: Annotated[int, typer.Option(help="With --claim: uid of the pods; take the model servers'.")] = 1000,
    group: Annotated[int, typer.Option(help="With --claim: gid and fsGroup of the pods.")] = 1000,
    pull_secret: Annotated[str, typer.Option(help="With --claim: Secret to pull the image with.")] = "",
    node_selector: Annotated[list[str] | None, typer.Option(help="With --claim: key=value of the nodes.")] = None,
    timeout: Annotated[int, typer.Option(help="With --claim: seconds for the Job, pulling the image included.")] = 600,
    deadline: Annotated[int, typer.Option(help="With --claim: seconds for one step.")] = 60,
    namespace: NamespaceOption = "",
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """On the claim: two pods on two nodes check what a shared cache needs of the filesystem."""
    arguments = Arguments(config=config, namespace=namespace)
    if not name:
        from llmd_storage_hooks.probe.run import run

        run_hook("probe", ProbeConfig, run, arguments, form=output)
        return
    from llmd_storage_hooks.probe.job.run import run as run_job

    pods_timeout_s = timeout - job.MARGIN_S
    job_name = f"{job.NAME}-{secrets.token_hex(4)}"
    options = {"path": job.MOUNT, "timeoutSeconds": pods_timeout_s, "deadlineSeconds": deadline, "release": job_name}

    def start(config: ProbeConfig) -> HookResult:
        return run_job(
            job.ProbeJob(
                name=job_name,
                namespace=config.namespace,
                claim=name,
                image=image,
                config=encode(config),
                user=user,
                group=group,
                pull_secret=pull_secret,
                node_selector=dict(one.split("=", 1) for one in node_selector or ()),
                timeout_seconds=timeout,
            )
        )

    refused = _refused(
        claim=name,
        image=image,
        namespace=namespace or NAMESPACE,
        selector=node_selector or [],
        pods_timeout_s=pods_timeout_s,
        yes=yes,
    )
    if refused:
        usage_error("probe", refused)
        return
    run_hook("probe", ProbeConfig, start, arguments, form=output, options=options, sufficient=True)


def _refused(*, claim: str, image: str, namespace: str, selector: list[str], pods_timeout_s: int, yes: bool) -> str:
    """Why the Job is not made; "" when it may be. Asks on the terminal."""
    if not image:
        return "--claim needs --image: the project's image, where the nodes can pull it."
    if bad := [one for one in selector if "=" not in one]:
        return f'--node-selector "{bad[0]}" is not key=value.'
    if pods_timeout_s <= 0:
        return f"--timeout must be more than {job.MARGIN_S} s."
    print(job.description(claim, image, namespace), flush=True)
    if yes:
        return ""
    if not sys.stdin.isatty():
        return "nobody can be asked here; say --yes to have the Job made."
    return "" if input("Go on? [y/N] ").strip().lower() in ("y", "yes") else "not made, as you wish."


@app.command(
    epilog=examples(
        """llmd-storage-hooks proof --url-a http://127.0.0.1:8001 --url-b http://127.0.0.1:8002 --model m
        --block-tokens 256""",
        """API_KEY=... llmd-storage-hooks proof --url-a https://a.example.com --url-b https://b.example.com
        --model m --api-key-env API_KEY --ca-file ca.crt""",
        "llmd-storage-hooks proof --config @proof.json --output junit | tail -1 > proof.xml",
    )
)
def proof(
    *,
    config: ConfigOption = "",
    values: ValuesOption = None,
    settings: SetOption = None,
    chart: ChartOption = CHART,
    release: ReleaseOption = "",
    namespace: NamespaceOption = "",
    url_a: Annotated[str | None, typer.Option(help="Server A, without a path; then no cluster is needed.")] = None,
    url_b: Annotated[str | None, typer.Option(help="Server B.")] = None,
    router_url: Annotated[str | None, typer.Option(help="The router in front of A and B.")] = None,
    model: Annotated[str | None, typer.Option(help="Its name on the servers.")] = None,
    block_tokens: Annotated[int | None, typer.Option(help="Tokens in one stored block.")] = None,
    prompt_blocks: Annotated[int | None, typer.Option(help="Length of the prompt in such blocks.")] = None,
    connector: Annotated[str | None, typer.Option(help="llmd-storage, vllm-fs, llmd-fs-backend, lmcache.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="Environment variable that holds the API key.")] = None,
    ca_file: Annotated[
        list[str] | None, typer.Option(help="CA certificates for https, as PEM: beside the public ones.")
    ] = None,
    server_name: Annotated[str | None, typer.Option(help="The name in the servers' certificates.")] = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """On the running servers: pod A prefills a prompt, pod B answers it from the shared storage."""
    from llmd_storage_hooks.proof.run import run

    arguments = Arguments(
        config=config,
        values=values or (),
        settings=settings or (),
        chart=chart,
        release=release,
        namespace=namespace,
    )
    options = {
        "urlA": url_a,
        "urlB": url_b,
        "routerUrl": router_url if router_url is not None or url_a is None else "",
        "model": model,
        "blockTokens": block_tokens,
        "promptBlocks": prompt_blocks,
        "connector": connector,
        "apiKeyEnv": api_key_env,
        "caFiles": ca_file or None,
        "serverName": server_name,
        "routerServerName": server_name,
    }
    run_hook("proof", ProofConfig, run, arguments, form=output, options=options, sufficient=url_a is not None)


def main() -> None:
    """The entry point of the installed script."""
    app()
