"""What people want to know of an explainer, and which metrics answer it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        name: a short handle, for links and file names.
        asked: the question itself.
        meaning: in plain words, what is measured to answer it.
        praise: what the winner does, as in "lime ...".
        categories: of the metrics that answer it.
        against_random: whether a map of random numbers is a yardstick. It is not where such a map
            is best by its nature: it is free, and the same at every input.
    """

    name: str
    asked: str
    meaning: str
    praise: str
    categories: tuple[str, ...]
    against_random: bool = False


QUESTIONS = (
    Question(
        "faithful",
        "Is it what the model does?",
        "What an explanation calls important is taken away: the model's output should change "
        "accordingly. Where the true answer is written down, the explanation is compared with it. "
        "A model with other weights should be explained otherwise.",
        "shows best what the model does",
        ("truth", "fidelity", "randomisation", "surrogate"),
        against_random=True,
    ),
    Question(
        "stable",
        "Is it the same tomorrow?",
        "The explanation is made again, with other random numbers or of an input that was moved a "
        "little. It should stay the same.",
        "changes least when it is made again",
        ("stability",),
    ),
    Question(
        "simple",
        "Can a person take it in?",
        "How many parts of the input one has to look at. Few are easier to take in than many.",
        "is the easiest to take in",
        ("complexity",),
    ),
    Question(
        "fair",
        "Is it fair?",
        "Whether groups of people, such as women and men, get explanations of the same quality, "
        "and how much of an explanation rests on what is protected.",
        "serves groups most alike",
        ("fairness",),
    ),
    Question(
        "cheap",
        "What does it cost?",
        "How often the model is asked, how long it takes and how much memory it needs.",
        "is the cheapest",
        ("cost",),
    ),
    Question(
        "plausible",
        "Would a person agree?",
        "Whether the explanation points to where people say that the evidence lies. A model may be "
        "right for other reasons, so agreement is no proof of the first question.",
        "agrees best with people",
        ("plausibility",),
        against_random=True,
    ),
    Question(
        "actionable",
        "What would have to change?",
        "Whether the changes that are proposed turn the decision, are small and few, and can be "
        "made.",
        "proposes the best changes",
        ("counterfactual",),
    ),
)
"""In the order of the report. Metrics of other categories, such as how far from the data a fidelity
was measured, describe the measurement and answer no question about an explainer."""


def question_of(category: str) -> Question | None:
    """The question that metrics of a category answer, if any."""
    return next((question for question in QUESTIONS if category in question.categories), None)
