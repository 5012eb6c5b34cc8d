"""Makes every request carry its pictures to the engine, so that a request that never arrives there harms no other one.

vLLM keeps processed pictures in the engine and only their names in the HTTP process: a picture whose name is known is
sent as a name. A request that is refused after its picture was processed, or whose client leaves, has put a name there
for a picture that the engine never got, and the next request with that picture, of whatever tenant, fails with 500
(https://github.com/vllm-project/vllm/pull/51897, closed without a fix;
https://github.com/vllm-project/vllm/pull/46747 lets the request after that one succeed). With several API processes
vLLM keeps the pictures themselves in the HTTP process and sends them each time, which has no such fault. So does this
server with one. A parameter of vLLM for that would belong into `vllm.multimodal.cache.factories._get_cache_type`;
until there is one, this is the only place that sets a private attribute of vLLM.
"""

from typing import TYPE_CHECKING, Any

from vllm.multimodal.cache.base import MultiModalProcessorOnlyCache
from vllm.multimodal.cache.lru import LruKeyReplicatedSenderCache

if TYPE_CHECKING:
    from vllm.renderers.base import BaseRenderer


def send_pictures_each_time(renderer: "BaseRenderer[Any]") -> None:
    """Replace a cache of names by one of pictures, of equal size (`--mm-processor-cache-gb`); keep any other cache."""
    if isinstance(renderer.mm_processor_cache, LruKeyReplicatedSenderCache):
        renderer._mm_processor_cache = MultiModalProcessorOnlyCache(renderer.model_config)
