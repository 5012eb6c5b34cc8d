"""What a method is: one file with a class of this kind, and one row in `registry.py`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from torch import Tensor

from eah_vllm.method.rows import RowBuffers, RowValue
from eah_vllm.method.shards import HeadShards
from eah_vllm.method.spans import ImageSpan
from eah_vllm.options import MethodOptions
from eah_vllm.settings import MethodSettings, ModelShape


class Prompt(Protocol):
    """What a method reads from a request; the worker keeps more about it."""

    prompt_length: int
    spans: tuple[ImageSpan, ...]
    pictures: tuple[str, ...]
    record: str | None
    carry: dict[str, Any]
    """What a method takes from one layer to a deeper one; it is empty before the prompt's last row is computed."""
    reason: str | None
    """Why the request is not changed; whoever sets it during a step also leaves the prompt's rows alone."""

    @property
    def slot(self) -> int | None:
        """The request's place in the buffers for generated rows; None where the method does not act on these."""

    @property
    def settings(self) -> Any:
        """The request's settings, of the class that the method's `resolve` returns."""

    @property
    def is_reported(self) -> bool:
        """Whether somebody has asked for a report."""

    @property
    def image_tokens(self) -> int:
        """Number of image tokens in the prompt."""


Request = TypeVar("Request", bound=Prompt, covariant=True)
"""The type in which the worker keeps a request."""


@dataclass(frozen=True, slots=True)
class Part(Generic[Request]):
    """The rest of a request's prompt after `num_cached` tokens: `num_rows` rows of the batch, from `row_start` on.

    These are cached, or for a method that needs no whole prompts computed by earlier steps.
    """

    state: Request
    row_start: int
    batch_idx: int
    num_cached: int = 0

    @property
    def num_rows(self) -> int:
        """Prompt rows in this step."""
        return self.state.prompt_length - self.num_cached

    @property
    def rows(self) -> slice:
        """Place of these rows in the batch."""
        return slice(self.row_start, self.row_start + self.num_rows)

    @property
    def last_row(self) -> int:
        """Place of the prompt's last row, which predicts the first token, in the batch."""
        return self.row_start + self.num_rows - 1


@dataclass(frozen=True)
class Parts(Generic[Request]):
    """The prompts of one step that a method changes in a layer."""

    parts: tuple[Part[Request], ...]
    are_everything: bool = False
    """Whether the step has no other row."""
    memo: dict[str, Any] = field(default_factory=dict, compare=False)
    """What a method makes once per step; layers with the same prompts share it."""

    @property
    def states(self) -> list[Request]:
        """The requests, in order."""
        return [part.state for part in self.parts]


@dataclass(slots=True)
class LayerStep:
    """One layer of one step: the rows of all requests, and vLLM's own attention over them."""

    layer: int
    """Decoder layer, 0-based."""
    query: Tensor
    """`[tokens, local heads, head_dim]`, after rotary embedding, in the key's dtype."""
    key: Tensor
    """`[tokens, local kv heads, head_dim]`, after rotary embedding."""
    value: Tensor
    """`[tokens, local kv heads, head_dim]`."""
    output: Tensor
    """`[tokens, local heads, head_dim]`; holds the outputs of the layer's attention once `ordinary` has been called."""
    scale: float
    """Factor on the scores before the softmax."""
    shards: HeadShards
    """Where the layer's other heads are."""
    attention: Callable[[], Tensor]
    """Runs vLLM's attention, which fills `output`; only `ordinary` calls it."""
    writes_cache: bool
    """Whether vLLM's attention also writes the KV cache, so that it must run whatever becomes of its output."""
    rows: RowBuffers | None = None
    """Where methods put what is to be done to last prompt rows and generated rows; None on a server without such."""
    _result: Tensor | None = None

    def ordinary(self, *, overwritten: bool = False) -> Tensor:
        """Run vLLM's attention, at most once in a step, and return what the layer returns.

        Args:
            overwritten: every row of the step is about to be overwritten, so nobody needs what it would put there.
        """
        if self._result is None:
            self._result = self.output if overwritten and not self.writes_cache else self.attention()
        return self._result


LayerReport = Mapping[str, Any]
"""What was done in one layer, as JSON data; it has at least a field `layer`."""


class Method(ABC):
    """A training-free method that changes or reads rows in some decoder layers, switched on for each request.

    Isolation in the KV cache, whole prompts, the plan of a step, reports, metrics, HTTP fields and names follow from
    it. It acts on prompt rows; or, with `acts_on_rows`, on the prompt's last row and all generated rows.
    """

    name: ClassVar[str]
    """HTTP field, alias suffix and prefix of the flat options: lower-case letters and digits."""
    Options: ClassVar[type[MethodOptions]]
    """What a caller may say of it."""
    changes_kv: ClassVar[bool] = True
    """Whether KV of later layers depends on it. If not, it only reads: it needs no cache of its own, and reads the
    layers that it can where others cannot be changed."""
    on_by_default: ClassVar[bool] = True
    """Whether a server that names no methods (`eah.methods`) enables it."""
    has_field: ClassVar[bool] = True
    """Whether an HTTP field and an alias of its name switch it on; a method without them has a route of its own."""
    random_twin: ClassVar[Mapping[str, Any] | None] = None
    """The options that make its control: what it would choose is drawn at random, as much of it and as strong. Its
    option `seed` then says which draw. None where the method has no such control."""

    needs_whole_prompt: ClassVar[bool] = True
    """Whether it needs every row of the prompt in one step, so that the prompt is not split and reads no cache."""
    acts_on_rows: ClassVar[frozenset[RowValue]] = frozenset()
    """What it puts into `LayerStep.rows` when the prompt's last row is computed. Python does not run in the steps that
    follow (they may be CUDA graphs), so this is applied to the last row and to every generated row outside."""
    carries_over_layers: ClassVar[bool] = False
    """Whether deeper layers need what it has found in earlier ones (`Prompt.carry`): pipeline stages must not keep
    these apart."""
    needs_image_free_pass: ClassVar[bool] = False
    """Whether it compares with the request's prompt without images: the scheduler runs that first, as a request of its
    own, and `LayerStep.rows` keeps the attention output of its last row."""

    @abstractmethod
    def resolve(
        self, said: MethodOptions, defaults: MethodOptions, shape: ModelShape, prefix: str | None = None
    ) -> MethodSettings:
        """Fill options from the server's defaults and the method's own, and check them against the model.

        Args:
            said: what the caller said, of class `Options`.
            defaults: the server's defaults, of class `Options`.
            shape: sizes of the model.
            prefix: how the caller spells option names; None means `NAME.`, as in the HTTP field.

        Raises:
            OptionError: the options are impossible for this model.
        """

    @abstractmethod
    def on_prompts(self, at: LayerStep, prompts: Parts[Prompt]) -> Tensor | None:
        """Change, or only read, the rows of some prompts in one layer, without waiting for the device.

        It calls `at.ordinary` before it reads or writes `at.output`, and leaves all other rows alone. A method with
        `acts_on_rows` does not write there, but to `at.rows`.

        Returns:
            Numbers to report, `[prompts, n]`, on the device; None where there are none.
        """

    @abstractmethod
    def explain(
        self, settings: Any, layer: int, image_tokens: int, numbers: Sequence[float]
    ) -> tuple[LayerReport, str | None]:
        """Say what was done to one request in one layer: its report, and why it was not changed (None: it was).

        Args:
            settings: the request's settings.
            layer: decoder layer, 0-based.
            image_tokens: image tokens of the prompt.
            numbers: the request's row of what `on_prompts` returned.
        """

    def warm_up(self, at: LayerStep) -> None:  # noqa: B027 - most methods have nothing to prepare
        """Prepare for requests while vLLM profiles the model: compile kernels; change nothing."""

    def describe(self, defaults: MethodOptions, shape: ModelShape) -> Mapping[str, Any]:
        """Return what `GET /v1/eah` says about the method beyond its options: JSON data."""
        return {"defaults": defaults.model_dump(exclude_none=True)}
