# SPDX-License-Identifier: Apache-2.0
"""One real vLLM in a process of its own, driven by JSON lines.

Reads commands from stdin, answers on the descriptor that stdout was; vLLM's own output goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


def main() -> None:
    import torch

    # vLLM 0.32 uses a processor's AMX tiles without asking the kernel for them: where no long prompt came first, for
    # which PyTorch asks, that ends with SIGILL.
    if torch.cpu._is_amx_tile_supported():
        torch.cpu._init_amx()

    from vllm import LLM

    setup = json.loads(sys.stdin.readline())
    llm = LLM(
        model=setup["model"],
        kv_transfer_config=setup["kv_transfer_config"],
        skip_tokenizer_init=True,
        dtype="bfloat16",
        enforce_eager=True,
        max_model_len=2048,
        block_size=32,
        max_num_seqs=4,
        kv_cache_memory_bytes=8 << 20,
        disable_log_stats=False,
        **({"distributed_executor_backend": "uni"} | setup["llm"]),
    )
    answer(ready=True)
    for line in sys.stdin:
        command = json.loads(line)
        match command.pop("do"):
            case "generate":
                started = time.monotonic()
                answer(**generate(llm, **command), seconds=time.monotonic() - started)
            case "metrics":
                # vLLM collects a tier's numbers while it steps: one step, too short for any block.
                generate(llm, prompt=[3], max_tokens=1)
                answer(metrics=metrics(llm))
            case "reset":
                # Refused while a block is in use, which one that is just being stored is.
                while not llm.reset_prefix_cache(reset_connector=True):
                    generate(llm, prompt=[3], max_tokens=1)
                    time.sleep(0.05)
                answer(done=True)
            case "reload":
                llm.collective_rpc("reload_weights", kwargs={"weights_path": command["path"]})
                answer(done=True)
            case "load_adapter":
                load_adapter(llm, **command)
                answer(done=True)
            case "shared_memory":
                answer(mapped=shared_memory())
            case "shutdown":
                llm.llm_engine.engine_core.shutdown()
                answer(done=True)
            case "identities":
                answer(identities=identities(llm))


def generate(
    llm,
    prompt: list[int],
    max_tokens: int,
    cache_salt: str | None = None,
    lora: str | None = None,
    lora_id: int = 1,
    transfer: dict | None = None,
):
    """{"tokens": the most likely ones, "transfer": what vLLM answers as kv_transfer_params}.

    lora: directory of an adapter; a lora_id that is new has vLLM read it (again). transfer: kv_transfer_params.
    """
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    extra = {"kv_transfer_params": transfer} if transfer else None
    params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True, detokenize=False, extra_args=extra)
    request = {"prompt_token_ids": prompt} | ({"cache_salt": cache_salt} if cache_salt else {})
    adapter = LoRARequest("adapter", lora_id, lora) if lora else None
    outputs = llm.generate([request], params, use_tqdm=False, lora_request=adapter)
    return {"tokens": list(outputs[0].outputs[0].token_ids), "transfer": outputs[0].kv_transfer_params}


def load_adapter(llm, path: str, lora_id: int = 1) -> None:
    """What is at the path now, whether or not that adapter was loaded before: load_lora_adapter with load_inplace."""
    from vllm.lora.request import LoRARequest

    assert llm.llm_engine.add_lora(LoRARequest("adapter", lora_id, path, load_inplace=True))


def answer(**fields: object) -> None:
    ANSWERS.write(json.dumps(fields) + "\n")


def metrics(llm) -> dict[str, float]:
    """Numbers, as name{label=value,...} without what is equal for all; of a histogram, how often it was observed."""
    found = {}
    for metric in llm.get_metrics():
        labels = {k: v for k, v in metric.labels.items() if k not in ("engine", "model_name")}
        text = ",".join(f"{k}={v}" for k, v in sorted(labels.items()))
        name = metric.name + (f"{{{text}}}" if text else "")
        value = getattr(metric, "value", getattr(metric, "count", None))
        if value is not None:
            found[name] = value
    return found


def shared_memory() -> list[str]:
    """vLLM regions that this process has mapped, whether or not they still have a name."""
    with open("/proc/self/maps") as maps:
        return sorted({line.split(None, 5)[5].strip() for line in maps if "/dev/shm/vllm_offload" in line})


def identities(llm) -> list[str]:
    """The identity as the scheduler's and as the worker's connector see it."""
    from vllm.distributed.kv_transfer import get_kv_transfer_group

    from llmd_storage_connector.identity.digest_cache import DigestCache
    from llmd_storage_connector.identity.fingerprint import Fingerprint
    from llmd_storage_connector.vllm.config_adapter import identity_of
    from llmd_storage_connector.vllm.model_files import weights_of

    core = llm.llm_engine.engine_core.engine_core
    scheduler, worker = core.scheduler.connector, get_kv_transfer_group()
    found = []
    for connector in (scheduler, worker):
        config = connector._vllm_config
        weights = Fingerprint(weights_of(config, None), DigestCache(Path(os.devnull, "unused"))).facts(60.0)
        found.append(identity_of(config, connector._kv_cache_config, weights).digest().hex())
    return found


if __name__ == "__main__":
    main()
