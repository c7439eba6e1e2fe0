"""`credits`: what runs cost, the forecast, and the comparison with the provider."""

from tests.cli.conftest import CliWorkspace
from worker.cli.exit_codes import ExitCode


def test_what_a_batch_cost_is_shown_in_each_form(workspace: CliWorkspace) -> None:
    workspace.until(workspace.enqueue("nano-banana-2"), "succeeded")
    rows = workspace.cli("credits", "--by", "batch", "--since", "1d", "--json").doc["items"]
    (own,) = [row for row in rows if row["key"] == workspace.name]
    assert (own["credits"], own["charges"], own["estimated"]) == (3, 1, 0)
    table = workspace.cli("credits", "--by", "batch").out
    assert "total" in table
    lines = workspace.cli("credits", "--by", "batch", "--csv").out.splitlines()
    assert lines[0] == "batch,credits,charges,estimated,usage,retries,dead,unknown"
    assert f"{workspace.name},3.0,1,0.0,0.0,0.0,0.0,0" in lines


def test_a_balance_is_carried_on(workspace: CliWorkspace) -> None:
    done = workspace.cli("credits", "set-balance", "500", "--account", workspace.account)
    assert (done.code, "500 credits" in done.out) == (0, True)
    workspace.until(workspace.enqueue("nano-banana-2"), "succeeded")
    rows = workspace.cli("credits", "forecast", "--json").doc["items"]
    (own,) = [row for row in rows if row["account"] == workspace.account]
    assert own["left"] == 497
    assert workspace.account in workspace.cli("credits", "forecast").out
    assert workspace.cli("credits", "set-balance", "-1").code == ExitCode.USAGE


def test_a_period_that_is_none_is_named(workspace: CliWorkspace) -> None:
    done = workspace.cli("credits", "--since", "soon")
    assert done.code == ExitCode.USAGE
    assert "--since" in done.err
    done = workspace.cli("credits", "--since", "2026-03-02", "--until", "2026-03-01")
    assert (done.code, done.err.startswith("knouds-worker: since")) == (ExitCode.FAILED, True)


def test_an_account_without_a_key_is_named(workspace: CliWorkspace) -> None:
    done = workspace.cli("credits", "reconcile", "--account", "nobody")
    assert done.code == ExitCode.FAILED
    assert "--account nobody: has no API key here" in done.err
