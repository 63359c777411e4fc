# SPDX-License-Identifier: Apache-2.0
"""The two ways to ask a server for text: completions, and chat for servers that have no completions. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Piece:
    """What one event of a stream holds of the answer."""

    text: str
    tokens: list[int]
    logprobs: list[float]
    gaps: list[float]  # by token: how far its log probability is above the second best one's


@dataclass(frozen=True, slots=True)
class Dialect:
    """chat: by messages, which the server puts into the model's chat template."""

    chat: bool

    @property
    def path(self) -> str:
        return "/v1/chat/completions" if self.chat else "/v1/completions"

    def asked(self, prompt: str) -> dict[str, Any]:
        """The prompt, as /tokenize takes it, too."""
        return {"messages": [{"role": "user", "content": prompt}]} if self.chat else {"prompt": prompt}

    def with_logprobs(self, count: int) -> dict[str, Any]:
        """Asks for log probabilities of each token and of the best `count`; 0 = for none."""
        if not count:
            return {}
        return {"logprobs": True, "top_logprobs": count} if self.chat else {"logprobs": count}

    def piece(self, choice: dict[str, Any]) -> Piece:
        """One of an event's choices."""
        tokens, given = list(choice.get("token_ids") or []), choice.get("logprobs") or {}
        if not self.chat:
            logprobs = [float(one) for one in given.get("token_logprobs") or [] if one is not None]
            best = [top.values() if isinstance(top, dict) else () for top in given.get("top_logprobs") or []]
            return Piece(choice.get("text") or "", tokens, logprobs, [_gap(one) for one in best])
        delta, content = choice.get("delta") or {}, given.get("content") or []
        text = (delta.get("reasoning") or delta.get("reasoning_content") or "") + (delta.get("content") or "")
        tops = [[one.get("logprob") for one in part.get("top_logprobs") or []] for part in content]
        return Piece(text, tokens, [float(part["logprob"]) for part in content], [_gap(one) for one in tops])


COMPLETIONS, CHAT = Dialect(chat=False), Dialect(chat=True)


def lacks_completions(status: int, body: str) -> bool:
    """Whether it is the endpoint that is not there; a model of another name is a 404, too, and is named."""
    return status in (404, 405) and "model" not in body.lower()


def _gap(logprobs: Any) -> float:
    """Between the best two; infinite where there are no two."""
    best = sorted((float(one) for one in logprobs), reverse=True)
    return best[0] - best[1] if len(best) > 1 else math.inf
