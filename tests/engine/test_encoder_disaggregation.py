"""The encoder's output may come from elsewhere (`--ec-transfer-config`): EAH acts behind it, and sees the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.checkpoints import IMAGE_PROMPT, random_image
from tests.engine.asks import EAH
from tests.engine.driver import Answer, Ask, Engine, Spare

IMAGE = random_image(3)


def run(spare: Spare, checkpoint: Path, **options: Any) -> tuple[list[Answer], dict[str, Any]]:
    asks = [Ask(IMAGE_PROMPT, [IMAGE]), Ask(IMAGE_PROMPT, [IMAGE], EAH | {"report": 1, "tag": "asked"})]
    engine = spare.serving(checkpoint, **options)
    return engine.generate(asks), engine.collect("asked")["reports"]


def test_embeddings_from_another_engine(gqa_checkpoint: Path, gqa_engine: Engine, spare: Spare, tmp_path: Path) -> None:
    def transfer(role: str) -> dict[str, Any]:
        return {
            "ec_connector": "ECExampleConnector",
            "ec_role": role,
            "ec_connector_extra_config": {"shared_storage_path": str(tmp_path)},
        }

    written = run(spare, gqa_checkpoint, ec_transfer_config=transfer("ec_both"))
    assert list(tmp_path.rglob("*.safetensors")), "nothing was handed over"
    read = run(spare, gqa_checkpoint, ec_transfer_config=transfer("ec_consumer"))
    alone = [gqa_engine.one(IMAGE_PROMPT, [IMAGE], eah) for eah in (None, EAH)]
    assert alone[0].tokens != alone[1].tokens, "EAH had no effect here"
    for answers, reports in (written, read):
        assert [answer.tokens for answer in answers] == [answer.tokens for answer in alone]
        assert reports["asked"]["applied"]
