"""Lists of English words by their part in a sentence, as captions use them."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """Return the words of a text that has spaces between them."""
    return frozenset(text.split())


def _phrases(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(phrase.split()) for phrase in text.split(", "))


SINGULAR_STARTS = words("a an one another each every this that 1")
PLURAL_STARTS = words(
    "two three four five six seven eight nine ten eleven twelve dozen several many few multiple numerous various "
    "both these those couple 2 3 4 5 6 7 8 9 10 11 12"
)
DETERMINERS = SINGULAR_STARTS | PLURAL_STARTS | words("the some any his its their my our your no all most more what")
OBJECT_PRONOUNS = words("it them him her")
SUBJECT_PRONOUNS = words("it they he she we you i")
LEANING = words("it its they them their he him his she her")
"""Pronouns that stand for something named before."""
STAND_INS = words("one another other others some each ones the")
"""Words that, without a noun, stand for a part of what was named before: "one on the left, another on the right"."""
PEOPLE = words("person man woman boy girl child kid baby lady guy player rider skier surfer people adult pedestrian")

BE = words("is are was were be been being 's")
MODALS = words("can could may might will would should must does do did not")
AUXILIARIES = BE | words("am has have had can could may might will would should must does do did")
COORDINATORS = words("and or but & plus yet nor")
SUBORDINATORS = words("while as whereas although though because since when if so until after before whilst")
RELATIVES = words("which who whom whose that where")
ADVERBS = words(
    "also too not n't just only still already currently clearly possibly probably likely perhaps together nearby "
    "prominently partially mostly mainly slightly very quite closely quietly peacefully comfortably directly "
    "additionally furthermore moreover besides meanwhile similarly likewise overall however then further "
    "elsewhere there here outdoors outside inside indoors away apart upright ahead visibly simply even alone both "
    "either neither overhead maybe"
)
OPENERS = words(
    "additionally furthermore moreover besides meanwhile similarly likewise however then also further elsewhere"
)
"""Adverbs at the start of a sentence that lean on what was said before."""
WORDS_OF_ADDING = words("also too additionally furthermore moreover")
OF_SEVERAL = words("together both apart")

PREPOSITIONS = words(
    "with in on at near by under beneath below above over behind beside besides between among amongst along "
    "alongside across around through against inside outside within without into onto from toward towards past up "
    "down off about for of during throughout including like opposite beyond underneath atop amid amidst featuring "
    "via per except to upon surrounding"
)
LONG_PREPOSITIONS = _phrases(
    "in front of, on top of, next to, close to, adjacent to, in addition to, out of, up to, due to, such as, "
    "along with, together with, because of, to the left of, to the right of, on the left of, on the right of, in "
    "the middle of, in the center of, on either side of, on both sides of, at the top of, at the bottom of, on "
    "the side of, at the edge of, on the edge of, to the side of, in between, ahead of, inside of, outside of, on "
    "the left side of, on the right side of, in the back of, on the back of, from behind, off of, at the end of, "
    "as part of, as well as, in the midst of, on the other side of, apart from, aside from, other than"
)
PLACES = words(
    "in on at near by under beneath below above over behind beside along alongside across around through against "
    "inside outside within into onto toward towards past opposite beyond underneath atop amid upon"
) | {" ".join(phrase) for phrase in LONG_PREPOSITIONS if phrase[-1] in ("of", "to") and phrase[0] != "such"} - {
    "in addition to",
    "due to",
    "because of",
    "out of",
    "up to",
}
"""Prepositions that say where something is; what they add may be said of whatever holds the thing."""
JOINING = frozenset({"along with", "as well as", "together with"})

_REGULAR = (
    "sit stand lie walk run rest play sleep hang float fly graze swim wait appear lean look gaze stare point face "
    "hold wear carry ride eat drink watch use read enjoy show feature depict display contain include capture "
    "present reveal illustrate portray showcase see have seem surround fill cover line add create make give "
    "suggest indicate provide take lead extend stretch rise grow move travel stop cross pass gather line consist "
    "occupy dominate adorn decorate complete serve complement contribute enhance span reach overlook shine tower "
    "loom border frame accompany follow chase perch relax roam wander skate surf ski jump catch throw kick hit "
    "swing reflect belong emphasize highlight bring keep set get go come pull push drive talk speak smile laugh "
    "pose prepare cook cut work blend contrast peek bask crouch kneel nap doze lounge drift sail soar dot flank "
    "notice mean say realize"
)
_IRREGULAR_FORMS = words(
    "sat stood lay lies lying ran slept hung flew swam held wore rode ate drank saw seen made gave took led rose "
    "grew has have had goes went came kept"
)
_S = {"s": ("s", "x", "z", "ch", "sh", "o")}


def third_person(verb: str) -> str:
    """Return the form of a verb that goes with "it": "sit" has "sits"."""
    if verb in ("have", "are", "were", "do"):
        return {"have": "has", "are": "is", "were": "was", "do": "does"}[verb]
    if verb.endswith(_S["s"]):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + "s"


BASE_VERBS = words(_REGULAR)
SINGULAR_VERBS = frozenset(map(third_person, BASE_VERBS))
VERBS = BASE_VERBS | SINGULAR_VERBS | _IRREGULAR_FORMS
SHOWING = words(
    "show feature depict display contain include capture present reveal illustrate portray showcase see have seen had"
)
"""Verbs that only say that something is there: "the image shows a dog"."""
SHOWING |= frozenset(map(third_person, SHOWING))
NEEDS_NOTHING = words(
    "sit stand lie walk run rest play sleep hang float fly graze swim wait appear relax roam wander skate surf "
    "ski jump perch nap doze lounge drift sail soar bask crouch kneel smile laugh pose shine sat stood lay parked "
    "seen visible present eat drink read cook work talk driving placed seated mounted displayed arranged stacked "
    "gather scatter docked moored captured"
)
"""Verbs and participles that make a whole sentence without an object or a place."""
NO_PARTICIPLE = words(
    "building ceiling clothing evening morning painting railing lighting string king ring wing spring thing "
    "something nothing everything anything awning wedding sling pudding icing dressing bedding stuffing siding "
    "paving sibling sapling duckling dumpling darling swing crossing clearing landing"
)
PARTICIPLES = words(
    "seen made held worn built drawn hung shown lit kept set spread laid stuck bent cut full dressed covered "
    "filled surrounded lined topped parked placed located situated positioned mounted attached connected tied "
    "stacked scattered arranged decorated adorned accompanied occupied followed equipped perched seated gathered "
    "displayed visible wrapped painted printed dotted flanked framed bordered planted docked moored anchored "
    "nestled draped carried pulled led driven ridden composed"
)
GROUPS = words("group couple pair lot number variety bunch row set collection herd flock crowd series stack pile")
IMAGE_WORDS = words(
    "image picture photo photograph scene view day night moment shot painting drawing illustration setting room "
    "street kitchen beach park area background foreground"
)
ADJECTIVES = words(
    "red blue green yellow white black orange purple brown grey gray pink golden silver beige tan dark light "
    "bright big large small tall short long old new young little tiny huge wooden metal clean dirty cozy modern "
    "colorful colourful lush quiet calm warm cool soft sunny cloudy wet dry round square open closed empty happy "
    "curious fluffy striped spotted plain shiny sandy grassy rocky busy peaceful serene beautiful"
)
FUNCTION_WORDS = words("a an the this it its is are was were has have there and or with in on of at to can be seen")
"""Words that a sentence that is put anew may have although it had not."""
GUESSING = words("maybe probably possibly perhaps likely apparently presumably")
"""Adverbs before another name for the same thing: "a dog, maybe a terrier"."""
