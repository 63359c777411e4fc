# SPDX-License-Identifier: Apache-2.0
"""The proof end to end, against stand-ins that speak vLLM's endpoints, each with one thing wrong."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest

from llmd_storage_hooks.core.errors import CollectError, Forbidden, NotFound, Unreachable
from llmd_storage_hooks.core.report import to_json
from llmd_storage_hooks.proof import run as hook
from llmd_storage_hooks.proof.collect.server import Server
from llmd_storage_hooks.proof.config import ProofConfig
from llmd_storage_hooks.proof.connectors import OWN
from tests.unit.hooks.fake_vllm import BLOCK, BYTES, FakeVllm
from tests.unit.hooks.support import FakeClock, assert_valid, http_server, report

CONFIG = ProofConfig(
    release="demo",
    namespace="ns",
    pod_selector={"app": "x"},
    model="m",
    block_tokens=BLOCK,
    prompt_blocks=6,
    max_tokens=6,
    ready_timeout_seconds=60,
    request_timeout_seconds=10,
)


def pod(name="a", node="n1", ready=True, generation="g", **status) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"pod-template-hash": generation}},
        "spec": {"nodeName": node},
        "status": {
            "phase": "Running",
            "podIP": f"10.0.0.{name}",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            **status,
        },
    }


class FakeKube:
    """Gives the pods of each poll in turn (the last one for ever), or raises."""

    def __init__(self, *polls, log="", log_error=None):
        self.polls, self.log, self.log_error, self.paths = list(polls), log, log_error, []

    def get(self, path, query=None):
        self.paths.append((path, query))
        poll = self.polls[0] if len(self.polls) == 1 else self.polls.pop(0)
        if isinstance(poll, Exception):
            raise poll
        return {"items": poll}

    def text(self, path, query=None):
        self.paths.append((path, query))
        if self.log_error:
            raise self.log_error
        return self.log


TWO = [pod("a", "n1"), pod("b", "n2")]


def run(monkeypatch, a=None, b=None, router=None, kube=None, **changes):
    """One proof. Returns: findings by id, the proof block, the outcome."""
    storage = {}
    a, b = a or FakeVllm(storage), b or FakeVllm(storage)
    a.storage = b.storage = storage
    with contextlib.ExitStack() as stack:
        urls = {f"10.0.0.{name}": stack.enter_context(http_server(one.answer)) for name, one in (("a", a), ("b", b))}
        if router is not None:
            router.storage = storage
            changes["router_url"] = stack.enter_context(http_server(router.answer))
        monkeypatch.setattr(
            hook,
            "_server",
            lambda config, observed: Server(urls[observed.ip], config.model, config.request_timeout_seconds),
        )
        outcome = hook.run(replace(CONFIG, **changes), kube or FakeKube(TWO), FakeClock())
    assert_valid(to_json(report(*outcome.findings, hook="proof", numbers=outcome.numbers, proof=outcome.proof)))
    return {one.id: one for one in outcome.findings}, outcome.proof, outcome


def verdicts(findings):
    return {name: one.verdict.value for name, one in findings.items()}


def test_a_shared_cache_is_proven(monkeypatch):
    storage = {}
    router = FakeVllm(storage)
    findings, block, _ = run(monkeypatch, router=router)
    assert set(verdicts(findings).values()) <= {"pass", "warn"}  # which of two stand-ins is quicker is chance
    assert {name for name, one in verdicts(findings).items() if one == "warn"} <= {"proof.ttft"}
    assert block["reusedFraction"] == 1.0
    assert block["reusedTokens"] == 6 * BLOCK
    assert block["source"] == "storage"
    assert block["tokensEqual"] is True
    assert block["logprobsMaxDelta"] == 0.0
    assert block["bytesRead"] == 6000
    assert (block["podA"], block["podB"], block["nodeA"], block["nodeB"]) == ("a", "b", "n1", "n2")
    assert block["ttftRouterSeconds"] is not None
    assert router.requests


def test_the_request_is_greedy_streamed_and_asks_for_ids(monkeypatch):
    a = FakeVllm({})
    run(monkeypatch, a=a)
    request = next(one for one in a.requests if one["max_tokens"] == 6)
    assert request["temperature"] == 0
    assert request["seed"] == 0
    assert request["ignore_eos"] is True
    assert request["stream"] is True
    assert request["return_token_ids"] is True
    assert request["kv_transfer_params"] == {"llmd_storage_patient": True}


def test_servers_that_have_chat_alone_are_proven_through_it(monkeypatch):
    a, b, router = (FakeVllm({}, chat=True) for _ in range(3))
    findings, block, _ = run(monkeypatch, a=a, b=b, router=router)
    assert findings["proof.api"].verdict.value == "pass"
    for check in (
        "proof.stored",
        "proof.reuse",
        "proof.source",
        "proof.tokens",
        "proof.logprobs",
        "proof.router.tokens",
    ):
        assert findings[check].verdict.value == "pass", findings[check]
    assert block["reusedTokens"] == 6 * BLOCK, "the template's words count, too"
    request = next(one for one in b.requests if one["max_tokens"] == 6)
    assert request["top_logprobs"] == 2 and request["kv_transfer_params"] == {"llmd_storage_patient": True}
    assert "proof.api" not in run(monkeypatch)[0]


def test_a_server_that_generates_no_text_is_said(monkeypatch):
    b = FakeVllm({})
    monkeypatch.setattr(b, "answer", lambda method, path, body: (404, b'{"detail": "Not Found"}'))
    findings, _, _ = run(monkeypatch, b=b)
    assert findings["proof.api"].verdict.value == "fail"
    assert "neither /v1/completions nor /v1/chat/completions" in findings["proof.api"].sentence


def test_a_near_tie_is_seen_through_chat(monkeypatch):
    a, b = FakeVllm({}, gap=0.125, chat=True), FakeVllm({}, "near-tie", chat=True)
    assert run(monkeypatch, a=a, b=b)[0]["proof.tokens"].verdict.value == "warn"


def test_one_pod_with_chat_alone_is_asked_through_it(monkeypatch):
    findings, _, _ = run(monkeypatch, a=FakeVllm({}, chat=True), kube=FakeKube([pod("a")]))
    assert verdicts(findings) == {
        "proof.pods": "inconclusive",
        "proof.api": "pass",
        "proof.prompt": "pass",
        "proof.answer.a": "pass",
        "proof.stored": "pass",
    }


def test_a_model_of_another_name_is_named(monkeypatch):
    """A 404 as well, but no reason to try chat."""
    findings, _, _ = run(monkeypatch, a=FakeVllm({}, model="qwen3"), b=FakeVllm({}, model="qwen3"))
    assert "asked for m; it serves qwen3" in findings["proof.answer.a"].sentence
    assert "modelserver.servedModelName" in findings["proof.answer.a"].remedy
    assert "proof.api" not in findings


@pytest.mark.parametrize(
    ("fault", "bad", "source", "said"),
    [
        ("other namespace", "proof.reuse", "none", "another namespace"),
        ("no connector", "proof.reuse", "none", "connector is not loaded"),
        ("not asked", "proof.reuse", "none", "never asked the storage tier"),
        ("load fails", "proof.reuse", "none", "could not load"),
        ("half", "proof.reuse", "storage", "found 3 of 6"),
        ("cpu tier", "proof.source", "cpu_tier", "CPU tier"),
        ("wrong tokens", "proof.tokens", "storage", "from token 4 on"),
    ],
)
def test_what_is_wrong_with_b_is_named(monkeypatch, fault, bad, source, said):
    findings, block, _ = run(monkeypatch, b=FakeVllm({}, fault))
    assert findings[bad].verdict.value == "fail"
    assert said in findings[bad].sentence
    assert findings[bad].remedy
    assert block["source"] == source


def test_tokens_that_part_at_a_near_tie_of_as_own_are_no_failure(monkeypatch):
    """A GPU's cold and warm prefill round otherwise: a healthy install must not be told to throw its cache away."""
    a, b = FakeVllm({}, gap=0.125), FakeVllm({}, "near-tie")
    findings, block, _ = run(monkeypatch, a=a, b=b)
    assert findings["proof.tokens"].verdict.value == "warn"
    assert "0.125 apart: a near-tie" in findings["proof.tokens"].sentence
    assert block["tokensEqual"] is False
    prompts = {one["prompt"] for one in b.requests if len(one["prompt"].split()) > BLOCK}
    assert len(prompts) == 3, "it is judged only after new prompts"


def test_a_clear_difference_is_a_failure_at_once(monkeypatch):
    b = FakeVllm({}, "wrong tokens")
    findings, _, _ = run(monkeypatch, a=FakeVllm({}, gap=2.0), b=b)
    assert findings["proof.tokens"].verdict.value == "fail"
    assert len({one["prompt"] for one in b.requests if len(one["prompt"].split()) > BLOCK}) == 1


def test_a_prompt_from_bs_own_memory_proves_nothing(monkeypatch):
    b = FakeVllm({}, "local")
    # The prompt is fresh, so B can only have it when it was sent there behind the proof's back.
    monkeypatch.setattr(b, "reuse", lambda keys: b.add("local", len(keys) * BLOCK) or len(keys))
    findings, block, _ = run(monkeypatch, b=b)
    assert findings["proof.source"].verdict.value == "fail"
    assert block["source"] == "local_cache"
    assert "own device memory" in findings["proof.reuse"].sentence


@pytest.mark.parametrize(
    ("fault", "said"), [("writes nothing", "wrote nothing"), ("no connector", "connector is not loaded")]
)
def test_what_is_wrong_with_a_is_named(monkeypatch, fault, said):
    findings, _, _ = run(monkeypatch, a=FakeVllm({}, fault))
    assert findings["proof.stored"].verdict.value == "fail"
    assert said in findings["proof.stored"].sentence


def test_logprobs_that_are_apart_only_warn(monkeypatch):
    findings, block, _ = run(monkeypatch, b=FakeVllm({}, "logprobs"))
    assert findings["proof.logprobs"].verdict.value == "warn"
    assert block["logprobsMaxDelta"] == 0.5


@pytest.mark.parametrize(("who", "check"), [("a", "proof.answer.a"), ("b", "proof.answer.b")])
def test_a_server_that_answers_500(monkeypatch, who, check):
    findings, block, _ = run(monkeypatch, **{who: FakeVllm({}, "http 500")})
    assert findings[check].verdict.value == "fail"
    assert "engine is dead" in findings[check].sentence
    assert block["reusedFraction"] is None


@pytest.mark.parametrize("now", [[pod("b", "n2")], [pod("a", "n1", ready=False), pod("b", "n2")]])
def test_a_server_that_dies_when_asked_is_named_with_its_log(monkeypatch, capsys, now):
    kube = FakeKube(TWO, now, log="RuntimeError: no compiler")
    findings, _, _ = run(monkeypatch, a=FakeVllm({}, "http 500"), kube=kube)
    assert findings["proof.stable"].verdict.value == "fail"
    assert findings["proof.stable"].observed["pod"] == "a"
    assert "no compiler" in capsys.readouterr().out


def test_a_server_that_lives_on_is_not_called_dead(monkeypatch):
    findings, _, _ = run(monkeypatch, a=FakeVllm({}, "http 500"))
    assert "proof.stable" not in findings


def test_an_error_within_the_stream_is_an_error(monkeypatch):
    findings, _, _ = run(monkeypatch, b=FakeVllm({}, "stream error"))
    assert findings["proof.answer.b"].verdict.value == "fail"
    assert "out of memory" in findings["proof.answer.b"].sentence


def test_other_traffic_on_b_makes_it_inconclusive_after_new_tries(monkeypatch):
    b = FakeVllm({}, "busy")
    findings, _, _ = run(monkeypatch, b=b)
    assert findings["proof.quiet"].verdict.value == "inconclusive"
    assert len([one for one in b.requests if one["max_tokens"] == 6]) == 3


def test_traffic_on_both_is_no_hindrance_where_answers_say_what_was_cached(monkeypatch):
    """Every upgrade under live traffic ended inconclusive, and was marked failed."""
    a, b = FakeVllm({}, "busy", details=True), FakeVllm({}, "busy", details=True)
    findings, block, _ = run(monkeypatch, a=a, b=b)
    assert set(verdicts(findings).values()) <= {"pass", "warn"}
    assert {name for name, one in verdicts(findings).items() if one == "warn"} <= {"proof.ttft"}
    assert (block["reusedFraction"], block["reusedTokens"], block["source"]) == (1.0, 6 * BLOCK, "storage")
    assert block["bytesRead"] is None, "what B read was for others too"
    assert "with what it wrote for others meanwhile" in findings["proof.stored"].sentence
    assert len([one for one in b.requests if one["max_tokens"] == 6]) == 1


def test_what_a_busy_server_writes_for_others_is_not_waited_for(monkeypatch):
    """It never stops writing: what waited when the answer was given is enough."""
    a, b = FakeVllm({}, "busy", details=True), FakeVllm({}, "busy", details=True)
    queued, step = f'{OWN}queued_bytes{{tier="1:llmd_storage"}}', a.step

    def busy():
        step()
        a.add("write", BYTES)
        a.more = f"{queued} {4 * BYTES}"

    monkeypatch.setattr(a, "step", busy)
    findings, _, _ = run(monkeypatch, a=a, b=b)
    assert findings["proof.stored"].verdict.value == "pass"
    assert findings["proof.stored"].observed["settled"] is True
    asked = [one for one in a.requests if one["max_tokens"] == 1]
    assert 5 <= len(asked) <= 8, "three steps, and four more until as much was written as waited"


def test_traffic_is_no_excuse_for_a_cache_that_is_not_shared(monkeypatch):
    class Elsewhere(FakeVllm):
        def reuse(self, keys):
            return 0

    b = Elsewhere({}, "busy", details=True)
    findings, block, _ = run(monkeypatch, b=b)
    assert findings["proof.reuse"].verdict.value == "fail"
    assert findings["proof.ttft"].verdict.value == "skipped"
    assert block["reusedTokens"] == 0
    assert len([one for one in b.requests if one["max_tokens"] == 6]) == 3


def test_a_router_that_gives_other_tokens_fails(monkeypatch):
    findings, _, _ = run(monkeypatch, router=FakeVllm({}, "wrong tokens"))
    assert findings["proof.router.tokens"].verdict.value == "fail"


def test_a_dead_router_fails(monkeypatch):
    findings, block, _ = run(monkeypatch, router=FakeVllm({}, "http 500"))
    assert findings["proof.router.answer"].verdict.value == "fail"
    assert block["ttftRouterSeconds"] is None


def test_a_context_shorter_than_a_block_is_said(monkeypatch):
    findings, _, _ = run(monkeypatch, a=FakeVllm({}, max_model_len=10))
    assert findings["proof.prompt"].verdict.value == "fail"
    assert "no room for one block" in findings["proof.prompt"].sentence


def test_a_short_context_takes_fewer_blocks(monkeypatch):
    findings, block, _ = run(monkeypatch, a=FakeVllm({}, max_model_len=40))
    assert findings["proof.reuse"].verdict.value == "pass"
    assert block["promptTokens"] < 40


def test_without_a_tokenizer_endpoint_the_answer_says_the_length(monkeypatch):
    findings, block, _ = run(monkeypatch, a=FakeVllm({}, tokenizer=False))
    assert findings["proof.prompt"].verdict.value == "pass"
    assert block["promptTokens"] > 6 * BLOCK


def test_a_document_is_used_behind_fresh_words(monkeypatch, tmp_path):
    text = tmp_path / "doc.txt"
    text.write_text("the licence " * 300)
    a = FakeVllm({}, max_model_len=200)
    _, block, _ = run(monkeypatch, a=a, prompt_file=str(text))
    prompt = next(one for one in a.requests if one["max_tokens"] == 6)["prompt"]
    assert "the licence the licence" in prompt
    assert not prompt.startswith("the licence")
    assert 150 < block["promptTokens"] <= 194


def test_a_document_that_cannot_be_read_is_said(monkeypatch):
    findings, _, _ = run(monkeypatch, prompt_file="/nowhere/doc.txt")
    assert findings["proof.servers"].verdict.value == "inconclusive"
    assert "/nowhere/doc.txt" in findings["proof.servers"].sentence


def test_pods_on_one_node_warn(monkeypatch):
    kube = FakeKube([pod("a", "n1"), pod("b", "n1")])
    findings, _, _ = run(monkeypatch, kube=kube)
    assert findings["proof.nodes"].verdict.value == "warn"


# --- waiting ------------------------------------------------------------------------------------------------


def waiting(name, reason, message="", restarts=0, **more):
    status = {
        "name": "vllm",
        "restartCount": restarts,
        "state": {"waiting": {"reason": reason, "message": message}},
        **more,
    }
    return pod(name, ready=False, containerStatuses=[status])


def test_one_pod_is_inconclusive(monkeypatch):
    findings, block, outcome = run(monkeypatch, kube=FakeKube([pod("a")]))
    assert verdicts(findings) == {  # without a restart, one server can only show that it writes
        "proof.pods": "inconclusive",
        "proof.answer.a": "pass",
        "proof.prompt": "pass",
        "proof.stored": "pass",
    }
    assert outcome.numbers["storedBytes"] == 6000
    assert "modelserver.replicas" in findings["proof.pods"].remedy
    assert block is None


def test_one_pod_that_writes_nothing_fails(monkeypatch):
    findings, _, _ = run(monkeypatch, a=FakeVllm({}, "writes nothing"), kube=FakeKube([pod("a")]))
    assert findings["proof.stored"].verdict.value == "fail"


@pytest.mark.parametrize(
    ("server", "check"),
    [
        ({"fault": "http 500"}, "proof.answer.a"),
        ({"fault": "http 500", "tokenizer": False}, "proof.answer.a"),
        ({"max_model_len": 10}, "proof.prompt"),
    ],
)
def test_one_pod_that_cannot_be_asked_is_said(monkeypatch, server, check):
    findings, _, _ = run(monkeypatch, a=FakeVllm({}, **server), kube=FakeKube([pod("a")]))
    assert findings[check].verdict.value == "fail"
    assert "proof.stored" not in findings


def test_the_pods_own_reasons_are_told_while_waiting(monkeypatch, capsys):
    pending = pod("b", ready=False)
    pending["status"] = {
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes: no gpu"}
        ],
    }
    polls = [[waiting("a", "ImagePullBackOff", "pull access denied"), pending]] * 7 + [TWO]
    findings, _, _ = run(monkeypatch, kube=FakeKube(*polls))
    assert findings["proof.pods"].verdict.value == "pass"
    out = capsys.readouterr().out
    assert "ImagePullBackOff (container vllm: pull access denied)" in out
    assert "Unschedulable (0/2 nodes: no gpu)" in out
    assert out.count("waiting: 0 of 2 pods ready") == 2  # a line every five seconds, not every poll


IMAGE = "registry.example.com/vllm:none"


def without_image(name, container="vllm", reason="ImagePullBackOff"):
    raw = waiting(name, reason, "Back-off pulling image: manifest unknown")
    raw["status"]["containerStatuses"][0]["name"] = container
    raw["spec"]["containers"] = [{"name": container, "image": IMAGE}]
    return raw


@pytest.mark.parametrize(
    ("container", "value"), [("vllm", "set modelserver.image to"), ("connector", "set global.image (registry")]
)
def test_an_image_that_does_not_come_is_given_up_long_before_the_time_is_up(monkeypatch, container, value):
    """A pod that never ran has no log, and a typo must not cost the hour that a model may take to load."""
    stuck, turns = without_image("a", container), without_image("a", container, "ErrImagePull")
    polls = [[stuck, pod("b")], [turns, pod("b")]] * 200
    findings, _, outcome = run(monkeypatch, kube=FakeKube(*polls), ready_timeout_seconds=3600)
    finding = findings["proof.pods"]
    assert finding.verdict.value == "fail"
    assert f"cannot have the image {IMAGE} of its container {container}" in finding.sentence
    assert "manifest unknown" in finding.sentence and value in finding.remedy
    assert outcome.numbers["waitedSeconds"] < 310


def test_an_image_that_did_not_come_in_time_is_named(monkeypatch):
    findings, _, _ = run(monkeypatch, kube=FakeKube([without_image("a"), pod("b")]), ready_timeout_seconds=20)
    assert IMAGE in findings["proof.pods"].sentence and "set modelserver.image to" in findings["proof.pods"].remedy


def test_a_picker_without_its_image_is_why_the_router_does_not_answer(monkeypatch):
    """Its logs, which were the advice, do not exist."""
    mine = {"app.kubernetes.io/instance": "kv", "app.kubernetes.io/component": "modelserver"}

    class WithPicker(FakeKube):
        def get(self, path, query=None):
            whole = (query or {}).get("labelSelector") == "app.kubernetes.io/instance=kv"
            return {"items": [*TWO, without_image("kv-epp", "epp")]} if whole else super().get(path, query)

    router = FakeVllm({}, "http 500")
    findings, _, _ = run(monkeypatch, router=router, kube=WithPicker(TWO), pod_selector=mine)
    finding = findings["proof.router.answer"]
    assert finding.verdict.value == "fail" and f"kv-epp on n1 cannot have the image {IMAGE}" in finding.sentence
    assert "set inferencepool.epp.image to" in finding.remedy


def test_crash_loops_are_given_up_with_the_log(monkeypatch, capsys):
    last = {"lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
    kube = FakeKube([waiting("a", "CrashLoopBackOff", "back-off", 3, **last), pod("b")], log="ValueError: no room\n")
    findings, _, _ = run(monkeypatch, kube=kube)
    finding = findings["proof.pods"]
    assert finding.verdict.value == "fail"
    assert "CrashLoopBackOff" in finding.sentence
    assert "OOMKilled" in finding.sentence
    assert "memory limit" in finding.remedy
    assert "ValueError: no room" in finding.observed["log"]
    assert "ValueError: no room" in capsys.readouterr().out


@pytest.mark.parametrize("error", [Forbidden("not allowed (logs)"), NotFound("gone"), CollectError("500")])
def test_logs_that_may_not_be_read_are_left_out(monkeypatch, error):
    kube = FakeKube([waiting("a", "CreateContainerConfigError", "bad"), pod("b")], log_error=error)
    findings, _, _ = run(monkeypatch, kube=kube)
    assert findings["proof.pods"].verdict.value == "fail"
    assert findings["proof.pods"].observed["log"] == ""


def test_nothing_ready_in_time_gives_the_pods_reason(monkeypatch):
    stuck = waiting("a", "ContainerCreating")
    findings, _, outcome = run(monkeypatch, kube=FakeKube([stuck, pod("b")]), ready_timeout_seconds=20)
    finding = findings["proof.pods"]
    assert finding.verdict.value == "fail"
    assert "1 of 2 pods ready" in finding.sentence
    assert "ContainerCreating" in finding.sentence
    assert outcome.numbers["waitedSeconds"] >= 20


def test_no_pods_at_all(monkeypatch):
    findings, _, _ = run(monkeypatch, kube=FakeKube([]), ready_timeout_seconds=5)
    assert "no pod in namespace ns matches app=x" in findings["proof.pods"].sentence


def test_pods_that_may_not_be_listed_are_inconclusive_at_once(monkeypatch):
    findings, _, _ = run(monkeypatch, kube=FakeKube(Forbidden("not allowed (pods)")))
    assert findings["proof.pods"].verdict.value == "inconclusive"
    assert "get and list on pods" in findings["proof.pods"].remedy


def test_an_api_server_that_blinks_is_waited_for(monkeypatch):
    findings, _, _ = run(monkeypatch, kube=FakeKube(Unreachable("refused"), TWO))
    assert findings["proof.pods"].verdict.value == "pass"


def test_a_rollout_is_waited_for(monkeypatch):
    old = [pod("old", generation="g0"), pod("old2", generation="g0")]
    findings, block, _ = run(monkeypatch, kube=FakeKube([*old, pod("a")], TWO))
    assert findings["proof.pods"].verdict.value == "pass"
    assert block["podA"] == "a"


def test_a_rollout_of_a_leaderworkerset_is_waited_for(monkeypatch):
    """Its pods have no pod-template-hash: by that label alone old and new ones would be of one generation."""

    def grouped(name, revision, node="n1"):
        found = pod(name, node)
        found["metadata"]["labels"] = {"leaderworkerset.sigs.k8s.io/template-revision-hash": revision}
        return found

    new = [grouped("a", "r1"), grouped("b", "r1", "n2")]
    kube = FakeKube([grouped("0", "r0"), grouped("0-1", "r0", "n2"), *new], new)
    findings, block, _ = run(monkeypatch, kube=kube)
    assert findings["proof.pods"].verdict.value == "pass"
    assert (block["podA"], len(kube.polls)) == ("a", 1)


def test_the_selector_goes_to_the_api_server(monkeypatch):
    kube = FakeKube(TWO)
    run(monkeypatch, kube=kube, pod_selector={"b": "2", "a": "1"})
    assert kube.paths[0] == ("/api/v1/namespaces/ns/pods", {"labelSelector": "a=1,b=2"})
