# SPDX-License-Identifier: Apache-2.0
"""One real vLLM in a process of its own, driven by JSON lines.

Reads commands from stdin, answers on the descriptor that stdout was; vLLM's own output goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time

ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


def main() -> None:
    from vllm import LLM, SamplingParams

    setup = json.loads(sys.stdin.readline())
    llm = LLM(
        model=setup["model"],
        kv_transfer_config=setup["kv_transfer_config"],
        hf_overrides=setup.get("hf_overrides", {}),
        skip_tokenizer_init=True,
        dtype="bfloat16",
        enforce_eager=True,
        max_model_len=2048,
        block_size=32,
        max_num_seqs=4,
        kv_cache_memory_bytes=8 << 20,
        distributed_executor_backend="uni",
        disable_log_stats=False,
    )
    answer(ready=True)
    for line in sys.stdin:
        command = json.loads(line)
        match command.pop("do"):
            case "generate":
                params = SamplingParams(
                    temperature=0, max_tokens=command["max_tokens"], ignore_eos=True, detokenize=False
                )
                started = time.monotonic()
                outputs = llm.generate([{"prompt_token_ids": command["prompt"]}], params, use_tqdm=False)
                answer(tokens=list(outputs[0].outputs[0].token_ids), seconds=time.monotonic() - started)
            case "metrics":
                answer(metrics=metrics(llm))
            case "reset":
                llm.reset_prefix_cache(reset_connector=True)
                answer(done=True)
            case "shared_memory":
                answer(mapped=shared_memory())
            case "shutdown":
                llm.llm_engine.engine_core.shutdown()
                answer(done=True)
            case "identities":
                answer(identities=identities(llm))


def answer(**fields: object) -> None:
    ANSWERS.write(json.dumps(fields) + "\n")


def metrics(llm) -> dict[str, float]:
    """Counters and gauges, as name{label=value,...} without what is equal for all."""
    found = {}
    for metric in llm.get_metrics():
        labels = {k: v for k, v in metric.labels.items() if k not in ("engine", "model_name")}
        text = ",".join(f"{k}={v}" for k, v in sorted(labels.items()))
        if hasattr(metric, "value"):
            found[metric.name + (f"{{{text}}}" if text else "")] = metric.value
    return found


def shared_memory() -> list[str]:
    """vLLM regions that this process has mapped, whether or not they still have a name."""
    with open("/proc/self/maps") as maps:
        return sorted({line.split(None, 5)[5].strip() for line in maps if "/dev/shm/vllm_offload" in line})


def identities(llm) -> list[str]:
    """The identity as the scheduler's and as the worker's connector see it."""
    from vllm.distributed.kv_transfer import get_kv_transfer_group

    from llmd_storage_connector.collect import identity_of

    core = llm.llm_engine.engine_core.engine_core
    scheduler, worker = core.scheduler.connector, get_kv_transfer_group()
    return [
        identity_of(connector._vllm_config, connector._kv_cache_config).digest().hex()
        for connector in (scheduler, worker)
    ]


if __name__ == "__main__":
    main()
