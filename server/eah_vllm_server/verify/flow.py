"""One check from an answer to its report: find what it names, ask about each object, judge."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vllm.exceptions import VLLMError

from eah_vllm_server.verify.answer import AnswerText
from eah_vllm_server.verify.answer_tokens import AnswerTokens
from eah_vllm_server.verify.ask import Calls, CheckError
from eah_vllm_server.verify.best import Candidate, denied_mass, select_best
from eah_vllm_server.verify.extractors import extractor_of
from eah_vllm_server.verify.mentions import Mention, MentionError
from eah_vllm_server.verify.metrics import verify_metrics
from eah_vllm_server.verify.options import VerifyDefaults
from eah_vllm_server.verify.question import question_about
from eah_vllm_server.verify.report import NO_IMAGE, NO_TEXT, Checked, VerifyReport, judge
from eah_vllm_server.verify.rewrite import rewrite

logger = logging.getLogger("vllm.eah")


@dataclass(slots=True)
class Check:
    """The check of one request."""

    options: VerifyDefaults
    tokens: AnswerTokens
    calls: Calls

    @property
    def answers(self) -> int:
        """How many answers are sampled."""
        return self.options.n if self.options.action == "best_of" else 1

    async def report(self, answers: Sequence[AnswerText]) -> VerifyReport:
        """Check the answers to one request; whatever fails stands in the report, so that no answer is lost.

        Args:
            answers: the answer, or those that `best_of` sampled; the report is about the one that it chooses.
        """
        self.calls.kept.closed = True
        report, count = VerifyReport(self.options.action), verify_metrics()
        try:
            with count.seconds.time():
                await self._check(answers, report)
        except asyncio.CancelledError:
            count.requests.labels(outcome="left").inc()
            raise
        except Exception as error:
            logger.exception("EAH: a check failed; its answer says so")
            report.error = explained(error)
        count.requests.labels(outcome=report.outcome).inc()
        for mention in report.mentions:
            count.mentions.labels(verdict=mention.verdict).inc()
        report.tokens, report.cached_tokens = self.calls.tokens, self.calls.cached_tokens
        return report

    async def _check(self, answers: Sequence[AnswerText], report: VerifyReport) -> None:
        if not self.calls.kept.pictures:
            report.reason = NO_IMAGE
            return
        if not any(answer.text.strip() for answer in answers):
            report.reason = NO_TEXT
            return
        self.calls.use_adapter_of(answers[0].model)
        extractor, threshold = extractor_of(self.options, self.calls.text), self.options.threshold
        found = [await extractor.find(answer.text) for answer in answers]
        beliefs = await self._beliefs(found)
        if self.options.action == "best_of":
            candidates = [Candidate(*both, beliefs) for both in zip((a.text for a in answers), found, strict=True)]
            report.chosen = select_best(candidates, threshold)
            report.denied_mass = [float(denied_mass(candidate, threshold)) for candidate in candidates]
        text, mentions = answers[report.chosen].text, found[report.chosen]
        report.mentions = judge(mentions, beliefs, threshold)
        report.denied = objects(one for one in report.mentions if one.verdict == "denied")
        report.unasked = objects(one for one in report.mentions if one.verdict == "unasked")
        report.asked = len(beliefs)
        report.checked = True
        if self.options.rewrites and report.denied:
            if answers[report.chosen].blocks != 1:
                raise CheckError("an answer in several blocks of text is not rewritten")
            left = (await rewrite(text, mentions, report.denied, extractor, self.calls.text)).text
            if left != text:
                report.changed, report.original, report.result = True, text, left

    async def _beliefs(self, found: Sequence[Sequence[Mention]]) -> dict[str, float]:
        """Return P(yes) of what the answers name, for each answer of no more than `max_mentions` objects."""
        special = self.calls.engine.special_tokens
        asked: dict[str, str] = {}
        for mentions in found:
            questions = {name: question_about(name, self.options.question, special) for name in objects(mentions)}
            named = [(name, question) for name, question in questions.items() if question is not None]
            asked |= named[: self.options.max_mentions]
        return await self.calls.believe(asked, self.tokens)


def objects(mentions: Iterable[Mention | Checked]) -> list[str]:
    """Return the objects of mentions, each once."""
    return list(dict.fromkeys(mention.object for mention in mentions))


def explained(error: BaseException) -> str:
    """Return what a client may know of a failure; the log has the rest."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, VLLMError | MentionError | CheckError):
        return str(error) or type(error).__name__
    return f"the check failed ({type(error).__name__}); the server's log says more"
