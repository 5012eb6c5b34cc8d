"""The layouts that are converted, and how each writes a prompt."""

from __future__ import annotations

from dataclasses import dataclass

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions."
)
# The first system message replaces the default. LLaMA's tokenizers put a space before each text; after a special token
# the space must be written.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% if messages[0]['role'] != 'system' %} SYSTEM{% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %} {{ message['role'].upper() }}:{% endif %}LEAD"
    "{% if message['content'] is string %}TEXT{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}PICTURE{% else %}TEXT{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """One public layout."""

    name: str
    model_types: tuple[str, ...]
    """What its `config.json` says."""
    image_token: str
    """The token that stands for each patch of a picture."""
    own_tokens: tuple[str, ...]
    """Tokens that its vocabulary must have."""
    picture: str
    """How a picture stands in a prompt."""
    lead: str
    """What stands before a message."""
    before_text: str
    """What stands before each text of a message."""
    white: bool
    """Whether pictures are filled to squares with white."""

    def chat_template(self) -> str:
        """Return the prompt format, vicuna v1.1, as a Jinja template."""
        parts = {"SYSTEM": SYSTEM, "LEAD": self.lead, "TEXT": self.before_text, "PICTURE": self.picture}
        template = CHAT_TEMPLATE
        for name, text in parts.items():
            template = template.replace(name, text)
        return template


SHIKRA = Layout(
    "shikra",
    model_types=("shikra",),
    image_token="<im_patch>",
    own_tokens=("<im_patch>", "<im_start>", "<im_end>"),
    picture="<im_start><im_patch><im_end>",
    lead="",
    before_text=" ",
    white=True,
)
"""Shikra's tokenizer left out spaces beside its special tokens, and so does the template."""

LLAVA = Layout(
    "llava",
    model_types=("llava", "llava_llama"),
    image_token="<image>",
    own_tokens=(),
    picture="<image> \n",
    lead=" ",
    before_text="",
    white=False,
)
"""LLaVA tokenizes the text after a picture by itself, so a space comes before its newline."""

LAYOUTS = {layout.name: layout for layout in (SHIKRA, LLAVA)}
