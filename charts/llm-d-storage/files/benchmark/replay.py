# SPDX-License-Identifier: Apache-2.0
"""vLLM's command line, with a timed trace whose prompts are sent as text.

    python3 replay.py bench serve --dataset-name timed_trace ...

vLLM's own sends token ids, which a picker that routes by the prompt's text refuses or cannot compare. So here a block
of the trace is drawn from whole words, of which a text has as many tokens as words, and each prompt is turned into its
text. What is drawn follows from the block's id and PYTHONHASHSEED.
"""

from __future__ import annotations

import re
from typing import Any

from vllm.benchmarks.datasets import datasets
from vllm.entrypoints.cli.main import main

# One word and the space before it, as byte-level and as SentencePiece vocabularies write it.
_WORD = re.compile("[Ġ▁][a-z]+")


class TextTrace(datasets.TimedTrace):
    def sample(self, tokenizer: Any, *args: Any, **kwargs: Any) -> list[Any]:
        # What vLLM draws from. Without such words (a vocabulary of bytes) it is all of it, and lengths are about right.
        if words := sorted(token for word, token in tokenizer.get_vocab().items() if _WORD.fullmatch(word)):
            self.vocab, self.vocab_values_sorted = True, words
        requests = super().sample(tokenizer, *args, **kwargs)
        for request in requests:
            request.prompt = tokenizer.decode(request.prompt)
        return list(requests)


if __name__ == "__main__":
    datasets.TimedTrace = TextTrace
    main()
