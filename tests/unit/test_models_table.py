"""The table of models and the page that is made of it."""

from eah_vllm.model_row import REFUSED, TESTED
from eah_vllm.models import MODELS, SUPPORTED_ARCHITECTURES, row_of
from eah_vllm.options import EAHOptions
from tests.models.families import FAMILIES
from tests.models.families import REFUSED as REFUSED_FAMILIES
from tools.models_page import PAGE, page


def test_the_page_is_the_tables() -> None:
    assert PAGE.read_text() == page(), "run python -m tools.models_page"


def test_every_row_that_says_tested_has_a_test() -> None:
    """And no test's row says less."""
    tested = {row.architecture for row in MODELS.values() if row.verdict == TESTED}
    assert tested == {family.architecture for family in FAMILIES.values()}
    refused = {row.architecture for row in MODELS.values() if row.verdict == REFUSED and row.mechanism}
    assert refused >= {family.architecture for family in REFUSED_FAMILIES.values()}


def test_rows_are_whole() -> None:
    for row in MODELS.values():
        EAHOptions(**row.start)
        assert row.note or row.verdict != REFUSED
        assert row.mechanism == (row.architecture in SUPPORTED_ARCHITECTURES)


def test_an_architecture_without_a_row_says_how_to_try_it() -> None:
    row = row_of("NeverHeardOfForConditionalGeneration")
    assert row.verdict == "same mechanism, untested"
    assert "any_model" in row.note
