"""Reads pages as a browser without scripts: text, links, and forms that can be submitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser

import aiohttp

HTML = {"Accept": "text/html"}


@dataclass(slots=True)
class HtmlForm:
    """A form with its fields and buttons."""

    action: str
    method: str
    id: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    buttons: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    checkboxes: list[str] = field(default_factory=list[str])
    """Values of the checkboxes."""

    def with_(self, **changes: str) -> list[tuple[str, str]]:
        """The fields, with some values replaced."""
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
        self._textarea_name: str | None = None
        self._textarea_form: HtmlForm | None = None
        self._buffer: list[str] = []
        self._select_form: HtmlForm | None = None
        self._is_selected = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if tag == "a":
            self.links.append(attributes.get("href", ""))
        if tag == "form":
            self._open = HtmlForm(
                attributes.get("action", ""),
                attributes.get("method", "get"),
                attributes.get("id", ""),
            )
            self.forms.append(self._open)
            if "id" in attributes:
                self._named[attributes["id"]] = self._open
        form = self._named.get(attributes["form"]) if "form" in attributes else self._open
        if form is None:
            return
        if tag == "input":
            _add_input(form, attributes)
        elif tag == "button":
            form.buttons.append((attributes.get("name", ""), attributes.get("value", "")))
        elif tag == "select":
            form.fields.append((attributes.get("name", ""), ""))
            self._select_form = form
        elif tag == "option" and self._select_form is not None:
            self._is_selected = "selected" in attributes
            self._buffer = []
        elif tag == "textarea":
            self._textarea_name, self._textarea_form, self._buffer = (
                attributes.get("name", ""),
                form,
                [],
            )

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select_form = None
        if tag == "option" and self._select_form is not None and self._is_selected:
            name, _ = self._select_form.fields[-1]
            self._select_form.fields[-1] = (name, "".join(self._buffer))
        if tag == "form":
            self._open = None
        if tag == "textarea" and self._textarea_form is not None:
            self._textarea_form.fields.append((self._textarea_name or "", "".join(self._buffer)))
            self._textarea_form = None

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        self._buffer.append(data)


def _add_input(form: HtmlForm, attributes: Mapping[str, str]) -> None:
    name, kind, value = (
        attributes.get("name", ""),
        attributes.get("type", "text"),
        attributes.get("value", ""),
    )
    if kind == "checkbox" and name:
        form.checkboxes.append(value)
    elif name and (kind != "radio" or "checked" in attributes):
        form.fields.append((name, value))


@dataclass(frozen=True, slots=True)
class HtmlPage:
    """A parsed page."""

    status: int
    headers: Mapping[str, str]
    url: str
    body: bytes
    html: _PageParser

    @property
    def text(self) -> str:
        """The visible text, with whitespace collapsed."""
        return " ".join(" ".join(self.html.texts).split())

    @property
    def source(self) -> str:
        return self.body.decode()

    def form(self, action: str) -> HtmlForm:
        """The first form with this action."""
        found = [one for one in self.html.forms if one.action == action]
        assert found, f"no form for {action}; there are {[one.action for one in self.html.forms]}"
        return found[0]

    @property
    def selection(self) -> HtmlForm:
        """The bulk form, with a checkbox per job."""
        (found,) = (one for one in self.html.forms if one.id == "bulk")
        return found

    def has_form(self, action: str) -> bool:
        return any(one.action == action for one in self.html.forms)

    def tags(self, name: str) -> list[dict[str, str]]:
        """The attributes of every tag with this name."""
        return [attributes for tag, attributes in self.html.tags if tag == name]


@dataclass(frozen=True, slots=True)
class PageReader:
    """A browser without scripts."""

    url: str
    http: aiohttp.ClientSession

    async def get(self, path: str, **headers: str) -> HtmlPage:
        async with self.http.get(self.url + path, headers={**HTML, **headers}) as response:
            return await _page(response)

    async def post(
        self, path: str, fields: Sequence[tuple[str, str]], headers: Mapping[str, str] | None = None
    ) -> HtmlPage:
        """Submit a form, and follow the redirect."""
        data = aiohttp.FormData(list(fields))
        async with self.http.post(
            self.url + path, data=data, headers={**HTML, **(headers or {})}
        ) as response:
            return await _page(response)

    async def send(self, page: HtmlPage, action: str, **changes: str) -> HtmlPage:
        """Submit a form of a page, with some fields replaced."""
        return await self.post(action, page.form(action).with_(**changes))


async def _page(response: aiohttp.ClientResponse) -> HtmlPage:
    body = await response.read()
    parser = _PageParser()
    if response.content_type == "text/html":
        parser.feed(body.decode())
    return HtmlPage(response.status, dict(response.headers), str(response.url), body, parser)
