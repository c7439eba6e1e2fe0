"""`manage.py make_pictures PROMPT …`: run what has no result yet, and keep the results."""

import asyncio
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from knouds_worker_client import AsyncClient, JobCancelled, JobDead, JobParked

from pictures.models import Picture


class Command(BaseCommand):
    """Start it again at any time: a job's id is that of its row, so nothing runs twice."""

    help = "Make a picture of each prompt, and of those that have none yet."

    def add_arguments(self, parser: CommandParser) -> None:
        """Prompts are added first."""
        parser.add_argument("prompts", nargs="*")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run all that is missing at once; each result is saved as it comes."""
        del args
        Picture.objects.bulk_create(Picture(prompt=one) for one in options["prompts"])
        asyncio.run(self._make_all(list(Picture.objects.filter(result__isnull=True, problem=""))))

    async def _make_all(self, missing: list[Picture]) -> None:
        async with AsyncClient() as client:
            for done in asyncio.as_completed([self._make(client, one) for one in missing]):
                picture = await done
                await picture.asave()
                self.stdout.write(f"{picture.pk} {picture}: {picture.problem or picture.result}")

    async def _make(self, client: AsyncClient, picture: Picture) -> Picture:
        try:
            job = await client.run(
                "model", "gpt-image-2", {"prompt": picture.prompt}, id=f"django-{picture.pk}"
            )
        except JobParked as stopped:  # an operator frees it: the next start waits for it again
            self.stderr.write(f"{picture.pk} is parked: {stopped.job.reason}")
        except (JobDead, JobCancelled) as stopped:
            picture.problem = f"{stopped.job.state}: {stopped.job.reason}"
        else:
            picture.result = job.result
        return picture
