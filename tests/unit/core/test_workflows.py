"""What a request for a run is compared with: the list of workflows, and what each takes."""

from jobs.workflows import (
    MAX_NAME_CHARS,
    MAX_WARNINGS,
    NO_SCHEMA,
    EnqueueWarning,
    InputField,
    WarningCode,
    Workflow,
    WorkflowSchema,
    check_inputs,
    check_workflow,
)

SCHEMA = WorkflowSchema(
    (InputField(name="image", type="string", needed=True), InputField(name="prompt")),
    is_complete=True,
)


def found(names: list[str], schema: WorkflowSchema = SCHEMA) -> list[tuple[str, str]]:
    return [(one.code, one.field) for one in check_inputs(names, schema)]


def test_a_workflow_that_can_run_is_no_warning() -> None:
    assert check_workflow(Workflow(slug="shots"), "shots", "default", 5.0) == []
    assert check_workflow(Workflow(slug="shots", hidden=True), "shots", "default", 5.0) == []


def test_a_slug_that_is_not_listed_is_told_with_the_age_of_the_list() -> None:
    (warning,) = check_workflow(None, "shot", "studio", 240.0)
    assert (warning.code, warning.field) == (WarningCode.WORKFLOW_NOT_FOUND, "target")
    assert "'studio'" in warning.message
    assert "4 minutes ago" in warning.message
    assert "check the slug" in warning.message


def test_an_archived_workflow_is_told() -> None:
    (warning,) = check_workflow(Workflow(slug="shots", archived=True), "shots", "default", 0.0)
    assert (warning.code, warning.field) == (WarningCode.WORKFLOW_ARCHIVED, "target")
    assert "restore" in warning.message


def test_missing_and_unknown_fields_are_told_by_name() -> None:
    assert found(["image"]) == []
    assert found(["image", "prompt"]) == []
    assert found([]) == [("missing_field", "inputs.image")]
    assert found(["imgae"]) == [
        ("missing_field", "inputs.image"),
        ("unknown_field", "inputs.imgae"),
    ]
    (missing,) = check_inputs(["prompt"], SCHEMA)
    assert "(string)" in missing.message
    (unknown,) = check_inputs(["image", "x"], SCHEMA)
    assert unknown.message == "is no field of the workflow: it takes image, prompt"


def test_what_is_not_known_is_not_called_wrong() -> None:
    assert found(["anything"], NO_SCHEMA) == []
    partly = WorkflowSchema(SCHEMA.fields, is_complete=False)
    assert found(["anything"], partly) == [("missing_field", "inputs.image")]


def test_a_workflow_without_a_request_node_takes_nothing() -> None:
    (warning,) = check_inputs(["prompt"], WorkflowSchema((), is_complete=True))
    assert warning.message == "is no field of the workflow: it takes no inputs, so omit it"


def test_warnings_and_the_names_in_them_are_bounded_and_on_one_line() -> None:
    many = check_inputs([f"n{n}" for n in range(1_000)], SCHEMA)
    assert len(many) == MAX_WARNINGS
    fields = tuple(InputField(name=f"f{n}", needed=True) for n in range(200))
    assert len(check_inputs([], WorkflowSchema(fields, is_complete=True))) == MAX_WARNINGS
    (hostile,) = check_inputs(["image", "a\n\u202eb" + "c" * 5_000], SCHEMA)
    assert isinstance(hostile, EnqueueWarning)
    assert hostile.field.isprintable()
    assert len(hostile.field) <= len("inputs.") + MAX_NAME_CHARS + 1
    (long,) = check_inputs(
        ["x"],
        WorkflowSchema(
            fields[:0] + tuple(InputField(name=f"f{n}") for n in range(200)), is_complete=True
        ),
    )
    assert long.message.endswith("f19 and 180 more")
