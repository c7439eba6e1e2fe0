"""What is told of inputs and results that cannot be read, though they were stored."""

from enum import StrEnum
from typing import Final

from jobs.job import INPUTS_ERASED, INPUTS_LOST, PAYLOAD_KEY_LOST


class MissingPayload(StrEnum):
    """Why a payload cannot be read. The value is the code of a job that parks for its inputs."""

    LOST = INPUTS_LOST
    """Redis lost it."""

    ERASED = INPUTS_ERASED
    """An operator or the retention of payloads erased it."""

    KEY_LOST = PAYLOAD_KEY_LOST
    """It is under a key that this process does not have, is plain though it should be encrypted,
    or was changed."""


WHY_NOT_SENT: Final = {
    MissingPayload.LOST: "Redis lost the inputs of this job, so it was not sent",
    MissingPayload.ERASED: "the inputs of this job were erased, so it was not sent",
    MissingPayload.KEY_LOST: "no key of KNOUDS_PAYLOAD_KEYS reads the inputs of this job: they are"
    " under another key, or somebody changed them or put plain ones in their place, so it was not"
    " sent",
}
"""The message of a job that parks for its inputs."""

ACTIONS: Final = {
    MissingPayload.LOST: "Enqueue it again with the same id and the same payload, which restores"
    " its inputs, then release it; or discard it",
    MissingPayload.ERASED: "Discard it; what it was to do has to be enqueued as a new job",
    MissingPayload.KEY_LOST: "Add the key to KNOUDS_PAYLOAD_KEYS of the workers and of the API,"
    " restart them and release it; or, where there is none, enqueue it again with the same id and"
    " the same payload, which restores its inputs, then release it; or discard it",
}
"""What an operator does about it."""

CANNOT_BE_SENT: Final = {
    MissingPayload.LOST: "It has lost its inputs, so it would only park as inputs_lost. Enqueue it"
    " again with the same id and payload first",
    MissingPayload.ERASED: "Its inputs were erased, so it cannot be sent again. Enqueue a new job",
    MissingPayload.KEY_LOST: "No key reads its inputs, so it would only park as payload_key_lost."
    " Add the key to KNOUDS_PAYLOAD_KEYS, or enqueue it again with the same id and payload first",
}
"""What to say before an action that would send such a job."""
