"""The tokens of yes and no in real tokenizers' vocabularies, and P(yes)."""

from __future__ import annotations

import math

import pytest
from eah_vllm_server.verify.answer_tokens import NEGLIGIBLE, AnswerTokens, answer_tokens, missing, p_yes
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from eah_vllm.options import OptionError
from eah_vllm.scenes import MODEL_PATH

TOKENS = AnswerTokens(frozenset({1, 2}), frozenset({3}))


def sentencepiece_like(*pieces: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer that writes a space as Llama's does."""
    tokenizer = Tokenizer(models.WordLevel({piece: k for k, piece in enumerate(("<unk>", *pieces))}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def spelled(tokenizer: PreTrainedTokenizerFast, ids: frozenset[int]) -> set[str]:
    return set(tokenizer.convert_ids_to_tokens(sorted(ids)))


def test_every_spelling_that_the_built_in_model_has() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL_PATH)
    tokens = answer_tokens(tokenizer, ("yes",), ("no",))
    assert spelled(tokenizer, tokens.yes) == {"Ġyes", "ĠYes"}
    assert spelled(tokenizer, tokens.no) == {"no", "Ġno", "ĠNo"}


def test_every_spelling_of_a_sentencepiece_vocabulary() -> None:
    tokenizer = sentencepiece_like("▁Yes", "Yes", "▁yes", "YES", "▁No", "no", "▁yesterday", "▁not", "▁oui", "▁Non")
    tokens = answer_tokens(tokenizer, ("yes",), ("no",))
    assert spelled(tokenizer, tokens.yes) == {"▁Yes", "Yes", "▁yes", "YES"}
    assert spelled(tokenizer, tokens.no) == {"▁No", "no"}
    french = answer_tokens(tokenizer, ("oui",), ("non",))
    assert (spelled(tokenizer, french.yes), spelled(tokenizer, french.no)) == ({"▁oui"}, {"▁Non"})


def test_a_word_that_is_no_token_is_refused() -> None:
    with pytest.raises(OptionError, match=r"verify.no: no word of it is one token of this model: \['nope'\]"):
        answer_tokens(sentencepiece_like("▁Yes"), ("yes",), ("nope",))


def test_p_yes_is_renormalised_over_yes_and_no() -> None:
    scores = {1: math.log(0.1), 2: math.log(0.2), 3: math.log(0.1), 9: math.log(0.6)}
    assert p_yes(scores, TOKENS) == pytest.approx(0.75)
    assert p_yes({token: score + 50 for token, score in scores.items()}, TOKENS) == pytest.approx(0.75), "logits"
    assert p_yes({1: 0.0}, TOKENS) == 1
    with pytest.raises(ValueError, match="no probability"):
        p_yes({9: 0.0, 1: -math.inf}, TOKENS)


def test_what_is_missing_is_asked_for_only_where_it_can_matter() -> None:
    assert missing({1: -0.1, 2: -3.0, 3: -2.0}, -9.0, [1, 2, 3]) == []
    assert missing({1: -0.1}, -20.0, [1, 2, 3]) == []
    assert missing({1: -0.1}, -2.0, [1, 2, 3]) == [2, 3]
    assert missing({1: -0.1}, None, [1, 2, 3]) == [2, 3]
    assert missing({}, -2.0, [1, 2, 3]) == [1, 2, 3]
    assert missing({1: 0.0}, -math.inf, [1, 2, 3]) == [], "the others are impossible"
    assert missing({1: 5000.0}, 20.0, [1, 2, 3]) == []


@given(st.lists(st.floats(-25, 0), min_size=8, max_size=8), st.integers(1, 7))
def test_what_is_left_out_moves_p_yes_by_no_more_than_said(logits: list[float], most: int) -> None:
    total = math.log(sum(map(math.exp, logits)))
    scores = {token: logit - total for token, logit in enumerate(logits)}
    ranked = sorted(scores, key=lambda token: -scores[token])
    best = max((1, 2, 3), key=lambda token: scores[token])
    returned = {token: scores[token] for token in {*ranked[:most], best}}
    least = scores[ranked[most - 1]]
    returned |= {token: scores[token] for token in missing(returned, least, [1, 2, 3])}
    assert p_yes(returned, TOKENS) == pytest.approx(p_yes(scores, TOKENS), abs=NEGLIGIBLE)
