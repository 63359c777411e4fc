# SPDX-License-Identifier: Apache-2.0
"""The proof's pieces: counters, prompts, streams, and who is a pair."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd_storage_hooks.core.errors import CollectError, NotFound, Unreachable
from llmd_storage_hooks.core.kube.objects import PodState
from llmd_storage_hooks.core.verdicts import Verdict
from llmd_storage_hooks.proof import readiness, ties
from llmd_storage_hooks.proof.checks import answers, reuse
from llmd_storage_hooks.proof.checks import pods as pod_checks
from llmd_storage_hooks.proof.checks.stored import length
from llmd_storage_hooks.proof.collect import prometheus, prompts
from llmd_storage_hooks.proof.collect.counters import delta, read_counters
from llmd_storage_hooks.proof.collect.server import Credentials, Server, events
from llmd_storage_hooks.proof.config import ProofConfig
from llmd_storage_hooks.proof.facts import Answer, Counters, Prompt, Trial, full_block_tokens
from tests.unit.hooks.support import by_id, http_server

TEXT = """
# HELP vllm:kv_offload_tiering_chunk_hits_total hits
# TYPE vllm:kv_offload_tiering_chunk_hits_total counter
vllm:kv_offload_tiering_chunk_hits_total{engine="0",model_name="a \\"b\\", c",tier="1:llmd_storage"} 3.0
vllm:kv_offload_tiering_chunk_hits_total{engine="1",model_name="x",tier="1:llmd_storage"} 4.0
vllm:kv_offload_tiering_chunk_hits_total{engine="0",model_name="x",tier="0:primary"} 100.0
vllm:prompt_tokens_cached_by_source_total{source="disk"} 64
vllm:prompt_tokens_total 1e+03
process_max_fds NaN
broken
odd{a="b"} x
"""


def test_counters_are_summed_over_engines_and_told_apart_by_tier():
    observed = prometheus.parse(TEXT)
    assert observed.total("vllm:kv_offload_tiering_chunk_hits_total", tier="llmd_storage") == 7
    assert observed.total("vllm:prompt_tokens_total") == 1000
    assert observed.total("nothing") == 0
    read = read_counters(observed)
    assert (read.storage_hits, read.disk_tokens, read.connector_loaded, read.attributes_sources) == (7, 64, True, True)


def test_a_declared_but_never_counted_family_still_shows_the_connector():
    observed = prometheus.parse("# TYPE vllm:kv_offload_tiering_chunk_queries_total counter\n")
    assert read_counters(observed).connector_loaded
    assert not read_counters(prometheus.parse("")).connector_loaded


def test_delta_never_goes_below_zero_after_a_restart():
    before, after = prometheus.parse("vllm:prompt_tokens_total 5"), prometheus.parse("vllm:prompt_tokens_total 2")
    assert delta(read_counters(before), read_counters(after)).prompt_tokens == 0


@given(st.integers(0, 5000), st.integers(1, 512))
def test_full_blocks_never_hold_the_last_token(tokens, block):
    full = full_block_tokens(tokens, block)
    assert full % block == 0
    assert full < max(tokens, 1)
    assert full + block >= tokens


@given(st.integers(1, 64), st.integers(1, 512), st.integers(1, 9000), st.integers(1, 64))
def test_a_wanted_prompt_fits_the_context_and_has_full_blocks(blocks, block, context, answer):
    wanted = prompts.target_tokens(blocks, block, context, answer)
    if wanted:
        assert wanted + answer <= context
        assert full_block_tokens(wanted, block) > 0


@given(st.integers(1, 200), st.integers(1, 300))
def test_fit_takes_the_shortest_start(count, wanted):
    words = prompts.random_words(count, 1)
    text, tokens = prompts.fit(words, wanted, lambda text: 2 * len(text.split()))
    assert tokens == 2 * len(text.split())
    assert tokens >= min(wanted, 2 * count)
    assert tokens < wanted + 2 or tokens == 2 * count


def test_fresh_prompts_differ():
    assert prompts.random_words(50, 1) != prompts.random_words(50, 2)


def test_event_streams():
    lines = ["", ": comment", "data: {broken", "data: [1]", 'data: {"a": 1}', "data: [DONE]", 'data: {"a": 2}']
    assert list(events(iter(lines))) == [{"a": 1}]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, b"", NotFound),
        (500, b"boom", CollectError),
        (200, b"no json", CollectError),
        (200, b"[]", CollectError),
        (200, b'{"count": "x"}', CollectError),
    ],
)
def test_odd_tokenizers(status, body, error):
    with http_server(lambda *_: (status, body)) as url, pytest.raises(error):
        Server(url, "m", 5).tokenize("x")


def test_odd_metrics_and_dead_servers():
    with http_server(lambda *_: (503, b"")) as url:
        with pytest.raises(CollectError, match="answered 503"):
            Server(url, "m", 5).metrics()
        dead = url
    for call in (Server(dead, "m", 1).metrics, lambda: Server(dead, "m", 1).tokenize("x")):
        with pytest.raises(Unreachable):
            call()
    answer = Server(dead, "m", 1).complete("x", 1)
    assert (answer.status, answer.good) == (0, False)
    assert answer.error


def test_a_stream_without_a_token_is_not_an_answer():
    with http_server(lambda *_: (200, b"data: [DONE]\n\n")) as url:
        assert not Server(url, "m", 5).complete("x", 1).good


def test_the_api_key_is_sent():
    observed = []

    def answer(method, path, body):
        observed.append(path)
        return 200, b""

    with http_server(answer) as url:
        server = Server(url, "m", 5, credentials=Credentials("secret"))
        assert server._http.headers["authorization"] == "Bearer secret"
        server.metrics()
    assert observed == ["/metrics"]


def state(name, node="n1", ready=True, generation="g", **more):
    fields = {"phase": "Running", "deleting": False, "restarts": 0, "reason": "", "message": "", "container": ""}
    fields.update(more)
    return PodState(name=name, node=node, ip="10.0.0.1", ready=ready, generation=generation, **fields)


def test_two_nodes_are_preferred():
    pair = readiness.pick([state("c", "n2"), state("b", "n1"), state("a", "n1")])
    assert (pair.first.name, pair.second.name) == ("a", "c")


@pytest.mark.parametrize(
    ("pods", "alone", "expected"),
    [
        ([], 0, readiness.NotYet),
        ([state("a"), state("b")], 0, readiness.PodPair),
        ([state("a"), state("b"), state("c", ready=False)], 0, readiness.PodPair),
        ([state("a"), state("b", deleting=True)], 0, readiness.NotYet),
        ([state("a")], 5, readiness.NotYet),
        ([state("a")], 15, readiness.SinglePod),
        ([state("a", generation="1"), state("b", generation="2")], 0, readiness.NotYet),
        ([state("a", ready=False, reason="CrashLoopBackOff", restarts=2), state("b")], 0, readiness.NotYet),
        ([state("a", ready=False, reason="CrashLoopBackOff", restarts=3), state("b")], 0, readiness.Unrecoverable),
        ([state("a", ready=False, reason="ErrImageNeverPull")], 0, readiness.Unrecoverable),
        ([state("a", ready=False, reason="ImagePullBackOff")], 0, readiness.NotYet),
    ],
)
def test_when_to_stop_waiting(pods, alone, expected):
    assert isinstance(readiness.assess(pods, alone), expected)


def test_a_registry_may_be_away_for_a_while():
    pods = [state("a", ready=False, reason="ErrImagePull"), state("b")]
    assert isinstance(readiness.assess(pods, 0, {"a": 299}), readiness.NotYet)
    assert readiness.assess(pods, 0, {"a": 300}) == readiness.Unrecoverable(pods[0])


CONFIG = ProofConfig(release="d", namespace="n", pod_selector={"a": "b"}, model="m", block_tokens=32)


def counters(**values):
    zero = read_counters(prometheus.parse("# TYPE vllm:kv_offload_tiering_x counter\n"))
    fields = {name: values.get(name, getattr(zero, name)) for name in Counters.__slots__}
    return Counters(**fields)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "none"),
        ({"local_tokens": 64}, "local_cache"),
        ({"external_tokens": 64}, "cpu_tier"),
        ({"external_tokens": 64, "storage_read_bytes": 1, "storage_hits": 2}, "storage"),
        ({"external_tokens": 640, "storage_read_bytes": 1, "storage_hits": 2}, "mixed"),
        (
            {"external_tokens": 64, "storage_read_bytes": 1, "disk_tokens": 64, "attributes_sources": True},
            "storage",
        ),
    ],
)
def test_where_reused_tokens_came_from(values, expected):
    assert reuse.source(CONFIG, trial(counters(**values))) == expected


@pytest.mark.parametrize(
    ("cached", "expected", "known"), [(640, "storage", 640), (0, "none", 0), (None, "mixed", None)]
)
def test_where_others_are_served_too_the_answer_itself_counts(cached, expected, known):
    others = counters(prompt_tokens=9999, external_tokens=640, storage_read_bytes=1, storage_hits=2)
    served = trial(others, Answer(200, prompt_tokens=700, cached_tokens=cached))
    assert (served.with_others, served.reused_tokens, reuse.source(CONFIG, served)) == (True, known, expected)


@pytest.mark.parametrize(("reused", "fraction"), [(3200, 1.0), (1600, 0.5), (3300, 1.0), (0, 0.0)])
def test_the_share_of_full_blocks_that_was_reused(reused, fraction):
    served = trial(counters(external_tokens=reused, prompt_tokens=3210), Answer(200, prompt_tokens=3210))
    assert served.reused_fraction(32) == fraction


def test_nothing_is_reused_of_a_prompt_without_a_full_block_or_where_it_is_not_known():
    assert trial(counters(external_tokens=9), Answer(200, prompt_tokens=9)).reused_fraction(32) == 0.0
    assert trial(None, Answer(200, prompt_tokens=3210)).reused_fraction(32) == 0.0


def test_a_share_just_below_what_is_asked_for_is_not_rounded_up():
    """The proof would pass a prompt that it had asked again for want of enough from the cache."""
    tokens = 100_000 * CONFIG.block_tokens + 1
    almost = int(0.95 * (tokens - 1)) - 1
    served = trial(counters(external_tokens=almost, prompt_tokens=tokens), Answer(200, prompt_tokens=tokens))
    assert reuse.reuse(CONFIG, served).verdict is not Verdict.PASS


def trial(reused, second=None):
    pod = PodState("a", "", "", "Running", True, False, 0, "", "", "", "")
    return Trial(pod, pod, Prompt("", None, None), second=second or Answer(200), reused=reused)


def test_a_prompt_copies_its_begin_so_that_how_it_goes_on_is_certain():
    words = prompts.copied_words(100, 1)
    assert len(words) == 100
    assert words[:25] == words[25:50] == words[75:] == prompts.random_words(25, 1)
    assert prompts.copied_words(1, 1) == prompts.random_words(1, 1)


@pytest.mark.parametrize(
    ("first", "other", "tie"),
    [
        (Answer(200, tokens=(1, 2, 3), gaps=(5.0, 0.0, 5.0)), Answer(200, tokens=(1, 9, 3)), True),
        (Answer(200, tokens=(1, 2, 3), gaps=(0.0, 5.0, 0.0)), Answer(200, tokens=(1, 9, 8)), False),
        (Answer(200, tokens=(1, 2, 3), gaps=(0.0, 0.0, 0.0)), Answer(200, tokens=(1, 2, 3)), False),
        (Answer(200, tokens=(1, 2)), Answer(200, tokens=(1, 9)), False),  # nothing is known of A's second best
        (Answer(200, text="a b", tokens=(1, 2), gaps=(5.0, 0.1)), Answer(200, text="a c"), True),
        (Answer(200, text="a b", tokens=(1, 2), gaps=(5.0, 3.0)), Answer(200, text="a c"), False),
    ],
)
def test_only_as_own_gap_where_the_answers_part_makes_a_near_tie(first, other, tie):
    assert ties.near_tie(first, other) == tie


def test_log_probabilities_are_compared_up_to_where_the_answers_part():
    first = Answer(200, tokens=(1, 2, 3), logprobs=(-1.0, -1.0, -1.0))
    assert answers.logprobs_delta(first, Answer(200, tokens=(1, 9, 8), logprobs=(-1.05, -7.0, -9.0))) == 0.05


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "hooks.proof.apiKey.secretName"), (403, "hooks.proof.apiKey"), (404, "servedModelName"), (500, "pod's log")],
)
def test_what_a_server_refuses_gets_the_value_that_mends_it(status, said):
    finding = answers.answered("proof.answer.a", "A", "a", Answer(status, error="no"))
    by_id([finding])
    assert finding.verdict.value == "fail"
    assert said in finding.remedy


def test_tokens_are_compared_by_text_where_ids_are_missing():
    first = Answer(200, text="a b", tokens=(1, 2))
    assert ties.same_tokens(first, Answer(200, text="a b"))
    assert not ties.same_tokens(first, Answer(200, text="a c"))
    assert answers.logprobs_delta(first, Answer(200)) is None
    assert answers.logprobs(first, Answer(200)).verdict.value == "skipped"


def test_a_prompt_shorter_than_a_block_is_named():
    finding = length(CONFIG, Answer(200, prompt_tokens=32))
    assert finding.verdict.value == "fail"
    assert "shorter than a block" in finding.sentence


def test_a_cache_that_does_not_help_warns():
    slow = answers.speed(Answer(200, ttft_seconds=0.1), Answer(200, ttft_seconds=0.4), 64)
    assert slow.verdict.value == "warn"


def test_who_computed_all_says_nothing_of_the_cache():
    """A server that is quicker by chance was praised for a cache that it did not use."""
    quick = answers.speed(Answer(200, ttft_seconds=0.4), Answer(200, ttft_seconds=0.1), 0)
    assert quick.verdict.value == "skipped"


@pytest.mark.parametrize(
    ("message", "log", "shm"),
    [
        ("exit code 135", "", True),
        ("back-off; last ended with Error, exit code 135", "", True),
        ("exit code 1", "Fatal Python error: Bus error", True),
        ("exit code 1", "OSError: [Errno 28] No space left on device: '/dev/shm/vllm_offload'", True),
        ("exit code 1", "OSError: [Errno 28] No space left on device: '/tmp/x'", False),
    ],
)
def test_shared_memory_that_is_too_small_is_named(message, log, shm):
    dead = state("a", ready=False, reason="CrashLoopBackOff", message=message, restarts=3)
    found = pod_checks.died(state("a"), dead, log)
    assert ("/dev/shm is too small" in found.remedy) == shm
