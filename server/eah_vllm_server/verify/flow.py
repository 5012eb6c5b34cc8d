"""One check from an answer to its report: find what it names, ask about each object, judge."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vllm.exceptions import VLLMError

from eah_vllm_server.verify.answer import AnswerText
from eah_vllm_server.verify.answer_tokens import AnswerTokens
from eah_vllm_server.verify.ask import Calls, CheckError
from eah_vllm_server.verify.extractors import extractor_of
from eah_vllm_server.verify.mentions import Extractor, Mention, MentionError
from eah_vllm_server.verify.metrics import verify_metrics
from eah_vllm_server.verify.options import VerifyDefaults
from eah_vllm_server.verify.question import question_about
from eah_vllm_server.verify.report import NO_IMAGE, NO_TEXT, Checked, VerifyReport, judge

logger = logging.getLogger("vllm.eah")


@dataclass(slots=True)
class Check:
    """The check of one request."""

    options: VerifyDefaults
    tokens: AnswerTokens
    calls: Calls

    async def report(self, answer: AnswerText) -> VerifyReport:
        """Check an answer; whatever fails stands in the report, so that the answer is never lost."""
        report, count = VerifyReport(self.options.action), verify_metrics()
        try:
            with count.seconds.time():
                self.calls.use_adapter_of(answer.model)
                await self._check(answer.text, report)
        except asyncio.CancelledError:
            count.requests.labels(outcome="left").inc()
            raise
        except Exception as error:
            logger.exception("EAH: a check failed; its answer says so")
            report = VerifyReport(self.options.action, error=explained(error))
        count.requests.labels(outcome=report.outcome).inc()
        for mention in report.mentions:
            count.mentions.labels(verdict=mention.verdict).inc()
        report.tokens, report.cached_tokens = self.calls.tokens, self.calls.cached_tokens
        return report

    async def _check(self, answer: str, report: VerifyReport) -> None:
        self.calls.kept.closed = True
        if not self.calls.kept.pictures:
            report.reason = NO_IMAGE
        elif not answer.strip():
            report.reason = NO_TEXT
        else:
            mentions = await self._extractor().find(answer)
            beliefs = await self._beliefs(mentions)
            report.mentions = judge(mentions, beliefs, self.options.threshold)
            report.denied = _objects(one for one in report.mentions if one.verdict == "denied")
            report.unasked = _objects(one for one in report.mentions if one.verdict == "unasked")
            report.asked = len(beliefs)
            report.checked = True

    def _extractor(self) -> Extractor:
        return extractor_of(self.options, self.calls.text)

    async def _beliefs(self, mentions: Sequence[Mention]) -> dict[str, float]:
        special = self.calls.engine.special_tokens
        asked: dict[str, str] = {}
        for name in _objects(mentions):
            question = question_about(name, self.options.question, special)
            if question is not None and len(asked) < self.options.max_mentions:
                asked[name] = question
        return await self.calls.believe(asked, self.tokens)


def _objects(mentions: Iterable[Mention | Checked]) -> list[str]:
    """Return the objects of mentions, each once."""
    return list(dict.fromkeys(mention.object for mention in mentions))


def explained(error: BaseException) -> str:
    """Return what a client may know of a failure; the log has the rest."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, VLLMError | MentionError | CheckError):
        return str(error) or type(error).__name__
    return f"the check failed ({type(error).__name__}); the server's log says more"
