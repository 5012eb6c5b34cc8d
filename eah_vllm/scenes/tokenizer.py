"""The built-in model's tokenizer and chat template."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from eah_vllm.scenes.captions import every_text

UNKNOWN, BOS, EOS, IMAGE, PAD = "<unk>", "<s>", "</s>", "<image>", "<pad>"
UNKNOWN_ID, BOS_ID, EOS_ID, IMAGE_ID, PAD_ID = range(5)
_VOCABULARY = 640

# LLaVA-1.5's format: "USER: <image>\nquestion ASSISTANT: answer</s>USER: ...". Images come first, wherever the client
# put them.
# The template writes BOS itself; chat clients must not add a second one (vLLM and transformers do not).
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}USER: {% elif message['role'] == 'assistant' %}ASSISTANT: {% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %} {% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def image_prompt(request: str) -> str:
    """Return what the chat template makes of one image and one request, without BOS."""
    return f"USER: {IMAGE}\n{request} ASSISTANT:"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on the world's sentences, of whose words none is rare; any other text tokenizes too."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[UNKNOWN, BOS, EOS, IMAGE, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    prompts = [image_prompt("").replace(IMAGE, " ")] * 100
    core.train_from_iterator(every_text() + prompts, trainer)
    core.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, BOS_ID)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token=UNKNOWN,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
    )
