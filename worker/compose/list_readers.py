"""The services that read the provider's list of runs: for findings, and for costs."""

from config.settings import Settings
from worker.engine.account_identities import AccountIdentities
from worker.engine.services.cost_reader import CostReader
from worker.engine.services.evidence import EvidenceService, EvidenceSettings
from worker.engine.supervisor import Service
from worker.engine.usage_lists import UsageLists
from worker.engine.worker_parts import WorkerContext
from worker.provider.port import RunProvider


def build_list_readers(
    settings: Settings,
    context: WorkerContext,
    provider: RunProvider,
    identities: AccountIdentities,
) -> tuple[Service, ...]:
    """Both services of one worker; they share the pauses that the provider asks for."""
    lists = UsageLists(provider, context.store.holds, context.clock)
    shared = frozenset(settings.shared_accounts)
    evidence = EvidenceService(
        context,
        lists,
        identities,
        EvidenceSettings(
            accounts=context.accounts,
            shared_accounts=shared,
            grace_s=settings.evidence_grace_s,
            sync_timeout_s=settings.sync_timeout_s,
        ),
    )
    costs = CostReader(
        context,
        lists,
        identities,
        shared,
        grace_s=settings.evidence_grace_s,
        sync_timeout_s=settings.sync_timeout_s,
    )
    return evidence, costs
