"""Leases: which of several workers does something that one of them has to do."""

from worker.store.client import Client


async def claim_lease(client: Client, key: str, worker_id: str, lease_s: float) -> bool:
    """Whether a worker has a lease for the next `lease_s` seconds, also one that it had before."""
    ttl_ms = round(lease_s * 1_000)
    if await client.call("SET", key, worker_id, "NX", "PX", ttl_ms):
        return True
    owner: bytes | None = await client.call("GET", key)
    if owner is None or owner.decode() != worker_id:
        return False
    return bool(await client.call("SET", key, worker_id, "XX", "PX", ttl_ms))
