"""`caps`: list, set and remove."""

from tests.cli.conftest import CliWorkspace
from worker.cli.exit_codes import ExitCode


def test_a_cap_is_set_listed_and_removed(workspace: CliWorkspace) -> None:
    scope = f"{workspace.account}/model/suno"
    done = workspace.cli("caps", "set", scope, "4", "--note", "slow today")
    assert (done.code, done.out) == (ExitCode.OK, f"{scope}: 4 at once\n")
    listed = workspace.cli("caps", "ls").out
    assert scope in listed
    assert "slow today" in listed
    assert workspace.cli("caps", "rm", scope).out == f"{scope}: no cap\n"
    assert workspace.cli("caps", "rm", scope).code == ExitCode.FAILED
    assert workspace.cli("caps", "set", scope, "0").code == ExitCode.USAGE
