"""The pages as a browser without scripts sees them: text, links, and forms that are sent back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser

import aiohttp

HTML = {"Accept": "text/html"}


@dataclass(slots=True)
class HtmlForm:
    """A form with what its fields say, and its buttons."""

    action: str
    method: str
    id: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    buttons: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    boxes: list[str] = field(default_factory=list[str])
    """Values of the boxes that can be ticked as `ids`."""

    def with_(self, **changes: str) -> list[tuple[str, str]]:
        """The fields, some of them filled in."""
        kept = [(name, value) for name, value in self.fields if name not in changes]
        return [*kept, *changes.items()]


class _PageParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self.links: list[str] = []
        self.forms: list[HtmlForm] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self._named: dict[str, HtmlForm] = {}
        self._open: HtmlForm | None = None
        self._area: str | None = None
        self._area_form: HtmlForm | None = None
        self._said: list[str] = []
        self._choosing: HtmlForm | None = None
        self._is_chosen = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = {name: value or "" for name, value in attrs}
        self.tags.append((tag, facts))
        if tag == "a":
            self.links.append(facts.get("href", ""))
        if tag == "form":
            self._open = HtmlForm(
                facts.get("action", ""), facts.get("method", "get"), facts.get("id", "")
            )
            self.forms.append(self._open)
            if "id" in facts:
                self._named[facts["id"]] = self._open
        form = self._named.get(facts["form"]) if "form" in facts else self._open
        if form is None:
            return
        if tag == "input":
            _put(form, facts)
        elif tag == "button":
            form.buttons.append((facts.get("name", ""), facts.get("value", "")))
        elif tag == "select":
            form.fields.append((facts.get("name", ""), ""))
            self._choosing = form
        elif tag == "option" and self._choosing is not None:
            self._is_chosen = "selected" in facts
            self._said = []
        elif tag == "textarea":
            self._area, self._area_form, self._said = facts.get("name", ""), form, []

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._choosing = None
        if tag == "option" and self._choosing is not None and self._is_chosen:
            name, _ = self._choosing.fields[-1]
            self._choosing.fields[-1] = (name, "".join(self._said))
        if tag == "form":
            self._open = None
        if tag == "textarea" and self._area_form is not None:
            self._area_form.fields.append((self._area or "", "".join(self._said)))
            self._area_form = None

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        self._said.append(data)


def _put(form: HtmlForm, facts: Mapping[str, str]) -> None:
    name, kind, value = facts.get("name", ""), facts.get("type", "text"), facts.get("value", "")
    if kind == "checkbox" and name:
        form.boxes.append(value)
    elif name and (kind != "radio" or "checked" in facts):
        form.fields.append((name, value))


@dataclass(frozen=True, slots=True)
class HtmlPage:
    """A page that was read."""

    status: int
    headers: Mapping[str, str]
    url: str
    body: bytes
    html: _PageParser

    @property
    def text(self) -> str:
        """What a person reads, spaces as one."""
        return " ".join(" ".join(self.html.texts).split())

    @property
    def source(self) -> str:
        return self.body.decode()

    def form(self, action: str) -> HtmlForm:
        """The first form that posts there."""
        found = [one for one in self.html.forms if one.action == action]
        assert found, f"no form for {action}; there are {[one.action for one in self.html.forms]}"
        return found[0]

    @property
    def selection(self) -> HtmlForm:
        """The form around the jobs that can be ticked."""
        (found,) = (one for one in self.html.forms if one.id == "bulk")
        return found

    def has_form(self, action: str) -> bool:
        return any(one.action == action for one in self.html.forms)

    def tags(self, name: str) -> list[dict[str, str]]:
        """The attributes of every tag of a name."""
        return [facts for tag, facts in self.html.tags if tag == name]


@dataclass(frozen=True, slots=True)
class PageReader:
    """One browser without scripts."""

    url: str
    http: aiohttp.ClientSession

    async def get(self, path: str, **headers: str) -> HtmlPage:
        async with self.http.get(self.url + path, headers={**HTML, **headers}) as answer:
            return await _page(answer)

    async def post(
        self, path: str, fields: Sequence[tuple[str, str]], headers: Mapping[str, str] | None = None
    ) -> HtmlPage:
        """Send a form, and go where the answer sends."""
        data = aiohttp.FormData(list(fields))
        async with self.http.post(
            self.url + path, data=data, headers={**HTML, **(headers or {})}
        ) as answer:
            return await _page(answer)

    async def send(self, page: HtmlPage, action: str, **changes: str) -> HtmlPage:
        """Send a form of a page, some of its fields filled in."""
        return await self.post(action, page.form(action).with_(**changes))


async def _page(answer: aiohttp.ClientResponse) -> HtmlPage:
    body = await answer.read()
    reader = _PageParser()
    if answer.content_type == "text/html":
        reader.feed(body.decode())
    return HtmlPage(answer.status, dict(answer.headers), str(answer.url), body, reader)
