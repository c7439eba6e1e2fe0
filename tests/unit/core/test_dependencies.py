"""References to results, JSON pointers, and what the states of parents mean."""

import msgspec
import pytest

from jobs.dependencies.parents import ParentsState, assess_parents
from jobs.dependencies.references import (
    MAX_REFERENCES,
    BadReference,
    ResultMissing,
    ResultReference,
    point,
    references_in,
    resolve,
)
from jobs.states import State
from tests.unit.core.test_requests import payload


def a_reference(job_id: str = "a", pointer: str | None = "/x") -> dict[str, str]:
    return {"$result": job_id} | ({} if pointer is None else {"pointer": pointer})


def test_references_are_found_wherever_they_are() -> None:
    inputs = payload(
        image=a_reference("a", "/images/0"),
        more=[1, {"deep": a_reference("b", None)}],
        price={"pointer": "/x"},
    )
    assert references_in(inputs) == (
        ResultReference("a", "/images/0", "inputs.image"),
        ResultReference("b", "", "inputs.more[1].deep"),
    )


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"$result": 7}, "inputs.x.$result"),
        ({"$result": ""}, "inputs.x.$result"),
        ({"$result": "a", "pointer": 0}, "inputs.x.pointer"),
        ({"$result": "a", "pointer": "images"}, "inputs.x.pointer"),
        ({"$result": "a", "pointer": "/a~2"}, "inputs.x.pointer"),
        ({"$result": "a", "pointer": "/" + "a" * 500}, "inputs.x.pointer"),
        ({"$result": "a", "default": 1}, "inputs.x"),
    ],
)
def test_a_bad_reference_names_its_place(value: object, path: str) -> None:
    with pytest.raises(BadReference) as refused:
        references_in(payload(x=value))
    assert refused.value.path == path


def test_there_are_only_so_many() -> None:
    assert len(references_in(payload(x=[a_reference()] * MAX_REFERENCES))) == MAX_REFERENCES
    with pytest.raises(BadReference):
        references_in(payload(x=[a_reference()] * (MAX_REFERENCES + 1)))


@pytest.mark.parametrize(
    ("pointer", "found"),
    [
        ("", {"foo": ["bar", "baz"], "": 0, "a/b": 1, "m~n": 8, " ": 7, "~1": 9}),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/m~0n", 8),
        ("/ ", 7),
        ("/~01", 9),
    ],
)
def test_a_pointer_points_as_rfc_6901_says(pointer: str, found: object) -> None:
    document = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "m~n": 8, " ": 7, "~1": 9}
    assert point(document, pointer) == found


@pytest.mark.parametrize("pointer", ["/bar", "/foo/2", "/foo/-", "/foo/01", "/foo/-1", "/foo/0/x"])
def test_a_pointer_to_nothing_is_an_error(pointer: str) -> None:
    with pytest.raises(LookupError):
        point({"foo": ["bar", "baz"]}, pointer)


def test_inputs_take_from_results() -> None:
    inputs = payload(image=a_reference("a", "/images/0"), all=[a_reference("b", None)], n=1.0)
    results = {"a": b'{"images": [{"url": "u"}]}', "b": b'{"$result": "a"}'}
    assert msgspec.json.decode(resolve(inputs, results)) == {
        "image": {"url": "u"},
        "all": [{"$result": "a"}],
        "n": 1.0,
    }
    assert resolve(payload(b=1, a=2), {}) == b'{"a":2,"b":1}'


@pytest.mark.parametrize(
    ("results", "text"),
    [
        ({}, "the result of job a is not on record"),
        ({"a": b'{"images": ["secret"]}'}, "the result of job a has nothing at /images/1"),
    ],
)
def test_a_missing_value_is_named_and_nothing_quoted(results: dict[str, bytes], text: str) -> None:
    with pytest.raises(ResultMissing) as missing:
        resolve(payload(x=a_reference("a", "/images/1")), results)
    assert str(missing.value) == text
    assert missing.value.reference.path == "inputs.x"


@pytest.mark.parametrize(
    ("states", "state", "text"),
    [
        ([State.SUCCEEDED, State.SUCCEEDED], ParentsState.SUCCEEDED, ""),
        (
            [State.SUCCEEDED, State.RUNNING],
            ParentsState.OPEN,
            "job p1 is running (1 of 2 have succeeded)",
        ),
        (
            [State.DEAD, State.PARKED],
            ParentsState.OPEN,
            "job p0 is dead; job p1 is parked (0 of 2 have succeeded)",
        ),
        ([State.RUNNING, State.CANCELLED], ParentsState.GONE, "job p1 was cancelled"),
        ([State.SUCCEEDED, None], ParentsState.GONE, "job p1 is no longer on record"),
        (
            [State.CANCELLED] * 5,
            ParentsState.GONE,
            "jobs p0, p1, p2 and 2 more were cancelled",
        ),
    ],
)
def test_what_parents_mean(states: list[State | None], state: ParentsState, text: str) -> None:
    ids = [f"p{number}" for number in range(len(states))]
    finding = assess_parents(ids, dict(zip(ids, states, strict=True)))
    assert (finding.state, finding.text) == (state, text)
