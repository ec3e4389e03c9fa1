"""Personal data is marked in the type, and never shows where a program shows itself."""

import traceback
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from application.commands import AttachmentInput, Resolve, Retry, SendEmail
from domain.answer import Answer, RecipientReport
from domain.catalogue import EVENTS
from domain.content import Content
from domain.email import Email
from domain.events import EmailRecipientClicked, Event
from domain.personal import personal_fields
from tests.domain.event_samples import PERSONAL, full
from tests.samples import NOW, queued

# What is free text or an identifier of ours or of a provider, and tells nothing about a person.
_HARMLESS = {
    *("tenant", "actor", "traceparent", "sha256", "content_type", "content_id", "fingerprint", "stream"),
    *("provider", "token", "route", "reason", "message_id", "rule", "complaint", "scope", "kind", "value"),
    *("provider_event_id", "provider_message_id", "enhanced_status", "name:Tag", "bounce_class", "evidence"),
    *("keys", "provider_type", "source", "concessions"),
}


def models(model: type[BaseModel]) -> set[type[BaseModel]]:
    """A model and all that it is made of."""
    found = {model}
    for field in model.model_fields.values():
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found |= models(part)
    return found


def texts(value: object) -> set[str]:
    """Every string anywhere inside."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, dict):
        return texts(list(value.values()))
    if isinstance(value, list | tuple):
        return {text for item in value for text in texts(item)}
    return set()


@pytest.mark.parametrize("cls", EVENTS)
def test_no_repr_of_an_event_tells_about_a_person(cls: type[Event]) -> None:
    event = full(cls)
    assert PERSONAL not in repr(event)
    assert PERSONAL not in f"{[event]}"


@pytest.mark.parametrize("model", sorted({m for cls in EVENTS for m in models(cls)}, key=str))
def test_every_text_field_is_either_personal_or_known_to_be_harmless(model: type[BaseModel]) -> None:
    free = {name for name, field in model.model_fields.items() if "str" in str(field.annotation)}
    unknown = free - personal_fields(model) - _HARMLESS
    assert {name for name in unknown if f"{name}:{model.__name__}" not in _HARMLESS} == set()


@pytest.mark.parametrize("cls", EVENTS)
def test_blanking_the_personal_fields_leaves_nothing_about_a_person(cls: type[Event]) -> None:
    assert PERSONAL not in "".join(texts(blanked(full(cls))))


def blanked(value: object) -> Any:
    if isinstance(value, BaseModel):
        kept = set(type(value).model_fields) - personal_fields(type(value))
        return {name: blanked(getattr(value, name)) for name in kept}
    return [blanked(item) for item in value] if isinstance(value, tuple) else value


def test_an_event_that_cannot_be_made_does_not_show_its_values() -> None:
    with pytest.raises(ValidationError) as caught:
        EmailRecipientClicked(**{**vars(full(EmailRecipientClicked)), "url": [PERSONAL], "machine": PERSONAL})
    assert PERSONAL not in "".join(traceback.format_exception(caught.value))


def test_commands_answers_content_and_the_aggregate_show_nobody_either() -> None:
    command = SendEmail.model_validate(
        {"from": "s@example.com", "to": ["personal@example.com"], "subject": PERSONAL, "text": PERSONAL}
        | {"html": PERSONAL, "headers": {"X-A": PERSONAL}, "metadata": {"who": PERSONAL}}
    )
    report = RecipientReport(EmailRecipientClicked, queued().id, "main", NOW, details={"url": PERSONAL})
    shown = [
        command,
        AttachmentInput(filename="a", content="cGVyc29uYWw="),
        Retry(reason=PERSONAL),
        Resolve(resolution="accepted", reason=PERSONAL),
        report,
        Answer(words=PERSONAL, reports=(report,)),
        Content(text=PERSONAL, html=PERSONAL, headers={"X-A": PERSONAL}),
        Email.of([full(EVENTS[0])]),
        getattr(Email.of([full(EVENTS[0])]), "standing", None),
    ]
    for thing in shown:
        assert "personal" not in repr(thing).lower()
