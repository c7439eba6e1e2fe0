"""Runs ten jobs at once over one stream of events, and prints each result as it comes."""

import asyncio

from knouds_worker_client import AsyncClient


async def main() -> None:
    """Ids of your own make the program safe to start again: it waits for the same jobs."""
    async with AsyncClient() as client:
        runs = [
            client.run("model", "gpt-image-2", {"prompt": f"cat {number}"}, id=f"cats-{number}")
            for number in range(10)
        ]
        for run in asyncio.as_completed(runs):
            job = await run
            print(job.id, job.result)


if __name__ == "__main__":
    asyncio.run(main())
