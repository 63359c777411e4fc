# SPDX-License-Identifier: Apache-2.0
"""Proof, answers: did two servers give the same one, and how soon?"""

from __future__ import annotations

from llmd_storage_hooks.core.kube import image_errors
from llmd_storage_hooks.core.kube.objects import PodState
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.proof.facts import Answer, Gateway
from llmd_storage_hooks.proof.ties import NEAR_TIE, gap_at, parting, same_tokens

# bfloat16 logits of equal KV, computed in batches of another shape, differ by less than this.
LOGPROBS_CLOSE = 0.1


_NO_KEY = (
    "The server wants an API key: set hooks.proof.apiKey.secretName and .secretKey to the Secret that the model "
    "servers have theirs from (as a tool: --api-key-env)."
)
_NO_ANSWER = {
    401: _NO_KEY,
    403: _NO_KEY,
    400: "If it is the chat template: a model without one takes --chat-template in modelserver.extraArgs, and a file "
    "of it in extraVolumes. Else see that pod's log.",
    404: "The server serves another name, or neither completions nor chat: GET /v1/models lists its names. Set the "
    "name with modelserver.servedModelName, not in extraArgs (as a tool: --model).",
}


def tokens(check_id: str, who: str, first: Answer, other: Answer) -> Finding:
    """The answer has A's tokens. who: whose it is."""
    if same_tokens(first, other):
        count = len(first.tokens) or len(first.logprobs)
        return Finding(check_id, Verdict.PASS, f"{who}'s {count} tokens equal A's.")
    at = parting(first, other)
    place = f"from token {at + 1} on" if at is not None else "in length or text"
    gap = gap_at(first, at)
    if gap <= NEAR_TIE:
        return Finding(
            check_id,
            Verdict.WARN,
            f"{who}'s answer differs from A's {place}, where A's own best two tokens were {gap:.3f} apart: a near-tie, "
            "which the rounding of a cold and a warm prefill can turn.",
            "Nothing to do if it is seldom; run the proof again (helm test) for a prompt without a near-tie.",
            observed={"a": list(first.tokens), "other": list(other.tokens), "gap": round(gap, 6)},
        )
    return Finding(
        check_id,
        Verdict.FAIL,
        f"{who}'s answer differs from A's {place}: the same prompt with temperature 0 must give the same tokens.",
        "Do not use this cache: report it with both pods' logs. Pods of one release must run the same model, "
        "image and flags.",
        observed={"a": list(first.tokens), "other": list(other.tokens)},
    )


def logprobs_delta(first: Answer, other: Answer) -> float | None:
    """The largest difference of an equal token's log probability; None when there is nothing to compare."""
    at = parting(first, other)
    mine, theirs = first.logprobs[:at], other.logprobs[:at]
    if not mine or len(mine) != len(theirs):
        return None
    return round(max(abs(one - two) for one, two in zip(mine, theirs, strict=True)), 6)


def logprobs(first: Answer, second: Answer) -> Finding:
    """A's and B's log probabilities are close."""
    check_id = "proof.logprobs"
    apart = logprobs_delta(first, second)
    if apart is None:
        return Finding(check_id, Verdict.SKIPPED, "The servers gave no log probabilities to compare.")
    observed = {"maxDelta": apart}
    if apart <= LOGPROBS_CLOSE:
        return Finding(check_id, Verdict.PASS, f"Log probabilities differ by {apart:.4f} at most.", observed=observed)
    return Finding(
        check_id,
        Verdict.WARN,
        f"Log probabilities of the same tokens differ by up to {apart:.4f} (more than {LOGPROBS_CLOSE}).",
        "Look for differences between the pods (GPU type, attention backend, quantisation).",
        observed=observed,
    )


def speed(first: Answer, second: Answer, reused_tokens: int) -> Finding:
    """B's first token came sooner than A's. reused_tokens: of the prompt, that B did not compute."""
    check_id = "proof.ttft"
    if reused_tokens == 0:
        return Finding(check_id, Verdict.SKIPPED, "B computed the whole prompt: its time says nothing of the cache.")
    cold, warm = first.ttft_seconds or 0.0, second.ttft_seconds or 0.0
    observed = {"coldSeconds": round(cold, 4), "warmSeconds": round(warm, 4)}
    times = f"first token after {warm:.3f} s on B, {cold:.3f} s on A"
    if warm <= cold:
        factor = f" ({cold / warm:.1f} times quicker)" if warm else ""
        return Finding(check_id, Verdict.PASS, f"The cache helps: {times}{factor}.", observed=observed)
    return Finding(
        check_id,
        Verdict.WARN,
        f"The cache does not help with this prompt: {times}.",
        "Prefill is quicker than loading here: longer prompts, larger models or faster storage gain more. See "
        "the probe's throughput and first lookup times.",
        observed=observed,
    )


def router(url: str, first: Answer, routed: Answer) -> list[Finding]:
    """The router answers, with A's tokens."""
    if not routed.good:
        status = f"HTTP {routed.status}" if routed.status else "no HTTP answer"
        return [
            Finding(
                "proof.router.answer",
                Verdict.FAIL,
                f"The router at {url} did not answer the prompt: {status}, {routed.error}.",
                "See the router's and the endpoint picker's (EPP) logs, and that the InferencePool selects the "
                "model servers.",
                observed={"status": routed.status},
            )
        ]
    sentence = f"The router at {url} answered, first token after {routed.ttft_seconds or 0:.3f} s."
    return [
        Finding("proof.router.answer", Verdict.PASS, sentence),
        tokens("proof.router.tokens", "The router", first, routed),
    ]


def way_without_image(pod: PodState) -> Finding:
    """The router does not answer, and a pod that it needs waits for its image. Requires: lacks_image."""
    return Finding(
        "proof.router.answer",
        Verdict.FAIL,
        f"The router did not answer the prompt: {pod.name} on {pod.node} cannot have the image {pod.image} of its "
        f"container {pod.container}: {image_errors.reason(pod)}.",
        image_errors.remedy(pod),
        observed={"pod": pod.name, "image": pod.image, "reason": pod.reason},
    )


def gateway_unusable(name: str, observed: Gateway) -> Finding:
    """The Gateway cannot be asked at all."""
    state = "is programmed, but has no address or no listener for HTTP" if observed.programmed else "is not programmed"
    why = f": {observed.message.rstrip('.')}" if observed.message else ""
    return Finding(
        "proof.router.answer",
        Verdict.FAIL,
        f'Gateway "{name}" {state}{why}.',
        f"See kubectl get gateway {name} -o yaml and the log of its controller.",
        "https://gateway-api.sigs.k8s.io/reference/spec/#gatewaystatus",
    )


def answered(check_id: str, who: str, name: str, answer: Answer) -> Finding:
    """The server answered. who: A, B or it, in the sentence."""
    if answer.good:
        sentence = f"{who} ({name}) answered, first token after {answer.ttft_seconds or 0:.3f} s."
        return Finding(check_id, Verdict.PASS, sentence)
    status = f"HTTP {answer.status}" if answer.status else "no HTTP answer"
    return Finding(
        check_id,
        Verdict.FAIL,
        f"{who} ({name}) did not answer: {status}, {answer.error}.",
        _NO_ANSWER.get(
            answer.status,
            "See that pod's log; raise hooks.proof.requestTimeoutSeconds if prefill takes longer here. If it is the "
            "certificate: global.modelserverTls (secretName, caKey, serverName) says whom and which name to trust.",
        ),
        observed={"status": answer.status},
    )
