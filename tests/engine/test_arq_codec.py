"""arq entries: what is valid, and what becomes of others."""

from typing import Any

import msgspec
import pytest

from worker.store.arq_codec import deserialize, serialize, submit_entry


def entry(function: str, *args: Any, **options: Any) -> bytes:
    return serialize({"f": function, "a": args, "k": options, "t": None, "et": 1})


@pytest.mark.parametrize("count", [1, 2, 32])
def test_an_entry_carries_the_submit_tokens_of_jobs_that_were_admitted_together(count: int) -> None:
    submits = [(f"j{n}", f"{n:08x}") for n in range(count)]
    arq_id, data = submit_entry(submits, now=1.5)
    assert arq_id == "j0:00000000"
    assert msgspec.json.decode(data)["et"] == 1_500
    read = deserialize(data)
    assert (read["f"], read["k"]) == ("submit", {})
    assert read["a"] == [text for pair in submits for text in pair]


def test_an_entry_holds_ids_and_nothing_else() -> None:
    _, data = submit_entry([("j", "h")], now=1.5)
    assert msgspec.json.decode(data) == {
        "f": "submit",
        "a": ["j", "h"],
        "k": {},
        "t": None,
        "et": 1_500,
    }


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (entry("submit"), "submit takes pairs of strings"),
        (entry("submit", "j"), "submit takes pairs of strings"),
        (entry("submit", "j", "h", "k"), "submit takes pairs of strings"),
        (entry("submit", "j", 7), "submit takes pairs of strings"),
        (entry("submit", "j", "h", hop="h"), "submit takes pairs of strings"),
        (entry("quarantine", "a"), "quarantine takes two strings"),
        (entry("quarantine", "a", "b", "c", "d"), "quarantine takes two strings"),
        (entry("run_model", "suno"), "run_model takes a target and inputs"),
        (
            entry("run_all", "suno"),
            "no function is called 'run_all': use run_model or run_workflow",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_arq_could_not_call_is_quarantined_and_kept(data: bytes, why: str) -> None:
    read = deserialize(data)
    assert (read["f"], read["a"]) == ("quarantine", [data.decode(), why])
