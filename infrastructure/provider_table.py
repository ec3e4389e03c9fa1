"""Which URL makes which provider: the one table of all there are, and of those that have to be asked for feedback.

Each is imported where it is made: their libraries take a third of a second to load, which no command that does without
them should have to wait for.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from application.ports import Clock, EmailProvider, FeedbackSource

if TYPE_CHECKING:
    from infrastructure.providers.maildir import MaildirFeedback
    from infrastructure.providers.ses_queue import SqsFeedback

Factory = Callable[[str, str, Clock], EmailProvider]  # name, URL, clock


def _sandbox(name: str, url: str, clock: Clock) -> EmailProvider:
    from infrastructure.providers.provider_url import ProviderUrl
    from infrastructure.providers.sandbox import SandboxProvider

    given = ProviderUrl.parse(url, ("dir",), key=None)
    return SandboxProvider(name, Path(given.one("dir") or "var/sandbox"), clock)


def _smtp(name: str, url: str, clock: Clock) -> EmailProvider:
    from infrastructure.providers.smtp import SmtpProvider, SmtpSettings

    return SmtpProvider(name, SmtpSettings.from_url(url), clock)


def _sendgrid(name: str, url: str, clock: Clock) -> EmailProvider:
    from infrastructure.providers.sendgrid import SendGridProvider, SendGridSettings

    return SendGridProvider(name, SendGridSettings.from_url(url), clock)


def _mailgun(name: str, url: str, clock: Clock) -> EmailProvider:
    from infrastructure.providers.mailgun import MailgunProvider, MailgunSettings

    return MailgunProvider(name, MailgunSettings.from_url(url), clock)


def _ses(name: str, url: str, clock: Clock) -> EmailProvider:
    from infrastructure.providers.ses import SesProvider, SesSettings

    return SesProvider(name, SesSettings.from_url(url), clock)


def _postmark(name: str, url: str, clock: Clock) -> EmailProvider:
    from infrastructure.providers.postmark import PostmarkProvider, PostmarkSettings

    return PostmarkProvider(name, PostmarkSettings.from_url(url), clock)


def _resend(name: str, url: str, clock: Clock) -> EmailProvider:
    from infrastructure.providers.resend import ResendProvider, ResendSettings

    return ResendProvider(name, ResendSettings.from_url(url), clock)


PROVIDERS: Mapping[str, Factory] = {
    "sandbox": _sandbox,
    "smtp": _smtp,
    "smtps": _smtp,
    "sendgrid": _sendgrid,
    "mailgun": _mailgun,
    "ses": _ses,
    "postmark": _postmark,
    "resend": _resend,
}


def make_provider(name: str, url: str, clock: Clock) -> EmailProvider:
    """Raises ValueError or OSError for a URL that makes none, naming what is wrong and never the URL."""
    scheme = url.partition("://")[0]
    if scheme not in PROVIDERS:
        raise ValueError(f"has a URL of an unknown kind; known are {', '.join(f'{s}://' for s in PROVIDERS)}")
    return PROVIDERS[scheme](name, url, clock)


def make_poller(
    url: str, source: FeedbackSource, clock: Clock, on_refused: Callable[[str], None]
) -> "SqsFeedback | MaildirFeedback | None":
    """Whatever the URL of this provider says has to be asked; None for one that comes to us."""
    scheme = url.partition("://")[0]
    if scheme == "ses":
        return _queue(url, source, clock)
    if scheme in ("smtp", "smtps"):
        return _maildir(url, source, clock, on_refused)
    return None


def _queue(url: str, source: FeedbackSource, clock: Clock) -> "SqsFeedback | None":
    from infrastructure.providers.ses import SesSettings
    from infrastructure.providers.ses_queue import SqsFeedback

    settings = SesSettings.from_url(url)
    return SqsFeedback(source.name, settings, clock) if settings.queue_url else None


def _maildir(
    url: str, source: FeedbackSource, clock: Clock, on_refused: Callable[[str], None]
) -> "MaildirFeedback | None":
    from infrastructure.providers.maildir import MaildirFeedback
    from infrastructure.providers.smtp_settings import SmtpSettings

    maildir = SmtpSettings.from_url(url).maildir
    return MaildirFeedback(maildir, source, clock, on_refused) if maildir else None
