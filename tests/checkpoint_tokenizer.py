"""Byte-level tokenizer and chat template of the tiny checkpoints, made offline."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ["<unk>", "<s>", "</s>", "<image>", "<pad>"]
BOS_TOKEN_ID, EOS_TOKEN_ID, IMAGE_TOKEN_ID, PAD_TOKEN_ID = 1, 2, 3, 4

# The strings of LLaVA-1.5: "USER: <image>\n... ASSISTANT:".
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'].upper() }}: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{% if not loop.last %} {% endif %}{% endfor %}"
    "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)

CORPUS = [
    "USER: Please describe this image in detail. ASSISTANT: The picture shows a red car on the left.",
    "USER: Is there a dog in the image? ASSISTANT: Yes, there is a small brown dog near the blue bench.",
    "USER: What colour is the cup on the table? ASSISTANT: The cup is green and stands beside an open book.",
]


def make_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """Every string can be encoded: all bytes are tokens, and merges of the corpus fill the vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS_TOKEN_ID)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        chat_template=CHAT_TEMPLATE,
    )


def tokens_never_generated(tokenizer: PreTrainedTokenizerFast, vocab_size: int) -> list[int]:
    """Special tokens, rows beyond the tokenizer, and tokens that are not whole printable ASCII text."""

    def is_printable_ascii(token_id: int) -> bool:
        if token_id < len(SPECIAL_TOKENS) or token_id >= len(tokenizer):
            return False
        text = tokenizer.decode([token_id])
        return text.isascii() and text.isprintable()

    return [token_id for token_id in range(vocab_size) if not is_printable_ascii(token_id)]
