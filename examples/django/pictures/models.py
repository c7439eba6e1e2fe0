"""Pictures that are wanted, and their results."""

from django.db import models


class Picture(models.Model):
    """A prompt; `result` is there once its run has succeeded."""

    prompt = models.CharField(max_length=500)
    result = models.JSONField(null=True)
    problem = models.CharField(max_length=500, blank=True)

    def __str__(self) -> str:
        return self.prompt
