"""Which server is the primary, of what the Sentinels answer."""

from dataclasses import dataclass

import pytest

from worker.redis.primary_choice import SETTLED_AFTER_S, PrimaryChoice, SentinelAnswer


def named(words: str) -> list[SentinelAnswer]:
    """`a0 b1`: the first Sentinel names server a of epoch 0, the second b of 1; `-` is silent."""
    return [
        SentinelAnswer((word[0], 6379), int(word[1:]), f"s{number}")
        for number, word in enumerate(words.split(), 1)
        if word != "-"
    ]


@dataclass(frozen=True)
class Case:
    """The known primary, the answers, and what they come to: at once, and if it lasts."""

    claim: str
    known: str
    answers: str
    chosen: str
    is_confirmed: bool
    later: str = ""
    """Chosen after `SETTLED_AFTER_S`, if another; with `is_confirmed_later`."""
    is_confirmed_later: bool | None = None


CASES = [
    Case("all agree at the first choice", "", "a0 a0 a0", "a0", True),
    Case("one Sentinel alone decides", "", "a0", "a0", True),
    Case("two of three are enough", "", "a0 a0 -", "a0", True),
    Case("one of two is enough: the other alone makes no failover", "", "a0 -", "a0", True),
    Case("one of three chooses nothing", "", "a0 - -", "", False),
    Case("a tie chooses nothing at first", "", "a0 b0 -", "", False),
    Case("a tie of two, too", "", "a0 b0", "", False),
    Case("a tie of two and two, too", "", "a0 a0 b0 b0", "", False),
    Case("three that name three choose nothing", "", "a0 b0 c0", "", False),
    Case("a higher epoch of one of two that answer is no majority", "", "a0 b5 -", "", False),
    Case("most win a tie of epochs at first", "", "b0 a0 a0", "a0", True),
    Case("a majority is chosen at first, and confirmed once a higher epoch is settled",
         "", "a1 a1 b2", "a1", False, "a1", True),
    Case("no Sentinel answers at first", "", "- - -", "", False),
    # A Sentinel that was set up for another server, at the same epoch.
    Case("one of three of the same epoch changes nothing", "a0", "b0 a0 a0", "a0", True),
    Case("nor does it change what is confirmed if it lasts", "a0", "a0 a0 b0", "a0", True),
    Case("in a tie the known one stays, unconfirmed", "a0", "a0 b0 -", "a0", False),
    Case("in a tie of two and two, too", "a0", "a0 a0 b0 b0", "a0", False),
    Case("two of three of the same epoch are followed", "a0", "a0 b0 b0", "b0", True),
    Case("half of all are not, at the same epoch", "a0", "b0 b0 - -", "a0", False),
    Case("nor is one of two", "a0", "- b0", "a0", False),
    Case("the only one is", "a0", "b0", "b0", True),
    # A failover.
    Case("nobody follows the leader of a failover alone", "a1", "b2 a1 a1", "a1", False,
         "a1", True),
    Case("most name the new primary", "a1", "b2 b2 a1", "b2", True),
    Case("where one is away, the other two make it", "a1", "b2 b2 -", "b2", True),
    Case("the leader and one that has not heard of it", "a1", "b2 a1 -", "a1", False),
    Case("one alone of three is followed by nobody", "a1", "b2 - -", "a1", False),
    Case("the only one of the URL is", "a1", "b2", "b2", True),
    Case("three of five", "a1", "b2 b2 b2 a1 a1", "b2", True),
    Case("two of the three that answer of five are too few", "a1", "b2 b2 a1 - -", "a1", False),
    Case("a failover and another one back", "a1", "a3 a3 a1", "a3", True),
    Case("of which only one has heard", "a1", "a3 a1 a1", "a1", True),
    Case("a wrong Sentinel does not delay it", "a1", "b2 b2 x0", "b2", True),
    Case("one that was away names the former primary", "b2", "b2 a1 b2", "b2", True),
    # A Sentinel of another deployment, of a higher epoch.
    Case("a higher epoch of one is not followed", "a1", "x9 a1 a1", "a1", False, "a1", True),
    Case("nor where one of the others is away", "a1", "x9 a1 -", "a1", False),
    Case("nor in a tie of four", "a1", "x9 x9 a1 a1", "a1", False),
    Case("a failover beside it", "a1", "b2 b2 x9", "b2", False, "b2", True),
    # Sentinels that were set up again, and so name a lower epoch.
    Case("a lower epoch of most counts if it lasts", "b5", "a0 a0 b5", "b5", False, "a0", True),
    Case("of all", "b5", "a0 a0 a0", "b5", False, "a0", True),
    Case("of the same server changes nothing", "a5", "a0 a0 a0", "a5", True, "a0", True),
    Case("of one of three does not count", "b5", "a0 - -", "b5", False),
    Case("nor in a tie", "b5", "a0 b5 -", "b5", False),
    # Silence.
    Case("no answers leave the known one, unconfirmed", "a1", "- - -", "a1", False),
    Case("one of three confirms nothing", "a1", "a1 - -", "a1", False),
    Case("half of two confirm", "a1", "a1 -", "a1", True),
    Case("half of four confirm: the others alone make no failover", "a1", "a1 a1 - -", "a1", True),
]  # fmt: skip


def one(words: str) -> SentinelAnswer | None:
    return next(iter(named(words)), None)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.known}: {case.answers}")
def test_the_primary_that_the_answers_come_to(case: Case) -> None:
    choice = PrimaryChoice(len(case.answers.split()))
    known, answers = one(case.known), named(case.answers)
    found = choice.choose(answers, known, 100.0)
    assert (found.primary, found.is_confirmed) == (one(case.chosen), case.is_confirmed), case.claim
    for late_s in (0.7, SETTLED_AFTER_S - 0.1):
        found = choice.choose(answers, found.primary, 100.0 + late_s)
        assert (found.primary, found.is_confirmed) == (one(case.chosen), case.is_confirmed)
    found = choice.choose(answers, found.primary, 100.0 + SETTLED_AFTER_S)
    is_confirmed = case.is_confirmed if case.is_confirmed_later is None else case.is_confirmed_later
    assert (found.primary, found.is_confirmed) == (one(case.later or case.chosen), is_confirmed)


@pytest.mark.parametrize(
    ("known", "answers", "problem"),
    [
        ("a0", "a0 a0 a0", ""),
        ("a0", "a0 a0 -", ""),
        ("a0", "b1 b1 b1", ""),
        ("", "a0 - -", "1 of 3 Sentinels answers, 2 needed"),
        ("a0", "a0 - -", "1 of 3 Sentinels answers, 2 needed"),
        ("", "a0 b0 -", "s1 names a:6379, epoch 0; s2 names b:6379, epoch 0; none"),
        ("a0", "b0 a0 -", "s1 names b:6379, epoch 0; s2 names a:6379, epoch 0; a:6379, epoch 0"),
        ("b1", "a0 a0 -", "s1 names a:6379, epoch 0; s2 names a:6379, epoch 0; b:6379, epoch 1"),
    ],
)  # fmt: skip
def test_the_problem_says_which_sentinel_names_what(known: str, answers: str, problem: str) -> None:
    choice = PrimaryChoice(len(answers.split()))
    found = choice.choose(named(answers), one(known), 0.0).problem
    assert found in (problem, f"the Sentinels disagree ({problem} is used)")


def test_a_minority_that_was_ignored_once_pauses_nothing_again() -> None:
    """It may answer too late now and then, or agree on another server: each epoch pauses once."""
    choice, known = PrimaryChoice(3), one("a1")

    def is_confirmed(answers: str, now: float) -> bool:
        return choice.choose(named(answers), known, now).is_confirmed

    assert not is_confirmed("x9 a1 a1", 0.0)
    assert not is_confirmed("- a1 a1", 1.0), "it is not forgotten while it is silent"
    assert is_confirmed("- a1 a1", SETTLED_AFTER_S)
    assert is_confirmed("x9 a1 a1", 60.0)
    assert not is_confirmed("x10 a1 a1", 61.0), "a failover may have made it"
    assert is_confirmed("x9 a1 a1", 61.0 + SETTLED_AFTER_S)
    found = choice.choose(named("x10 b2 b2"), known, 90.0)
    assert (found.primary, found.is_confirmed) == (one("b2"), True), "it delays no failover"


def test_a_higher_epoch_is_ignored_only_where_most_contradict_it() -> None:
    choice, known = PrimaryChoice(3), one("a1")
    for now in range(60):
        assert not choice.choose(named("b2 a1 -"), known, now).is_confirmed
    assert not choice.choose(named("b2 a1 a1"), known, 60.0).is_confirmed
    assert not choice.choose(named("b2 a1 -"), known, 63.0).is_confirmed
    assert not choice.choose(named("b2 a1 a1"), known, 66.0).is_confirmed, "its time begins anew"


def test_a_lower_epoch_counts_only_if_it_lasts() -> None:
    choice, known = PrimaryChoice(3), one("b5")
    for now, answers in ((0.0, "a0 a0 b5"), (4.0, "b5 b5 a0"), (5.0, "a0 a0 -"), (9.0, "a0 - -")):
        assert choice.choose(named(answers), known, now).primary == known
    assert choice.choose(named("a0 a0 -"), known, 10.0).primary == known
    assert choice.choose(named("a0 a0 -"), known, 10.0 + SETTLED_AFTER_S).primary == one("a0")


@pytest.mark.parametrize("chosen", ["a1", "a0"])
def test_the_same_server_replaces_nothing(chosen: str) -> None:
    assert not replaces("a1", chosen)


@pytest.mark.parametrize("chosen", ["b2", "b1", "b0", "a2"])
def test_another_server_or_a_failover_back_replaces_connections(chosen: str) -> None:
    assert replaces("a1", chosen)


def replaces(former: str, chosen: str) -> bool:
    known = one(former)
    assert known is not None
    return PrimaryChoice(1).choose(named(chosen), one(chosen), 0.0).replaces(known)


def test_most_agree() -> None:
    assert PrimaryChoice(3).agree(named("a0 a1"))
    assert not PrimaryChoice(3).agree(named("a0 b0"))
    assert not PrimaryChoice(4).agree(named("a0 a0 b0")), "the fourth may name the other"
    assert not PrimaryChoice(2).agree(named("a0"))
