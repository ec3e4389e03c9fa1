"""POST /hooks/{provider}: where providers tell what became of a message.

Whatever comes, the answer is one that every provider understands: 200 for kept, 401 for not proven, 503 for try again.
Others would make some of them give up for good: SNS at any other 4xx, Postmark at 403, Mailgun at 406.
"""

import logging

from application.errors import StoreUnavailable, Untrusted, VerificationUnavailable
from application.ports import Hook
from application.surprises import log_surprise
from infrastructure.web.body import whole
from infrastructure.web.errors import BodyTooLarge
from infrastructure.web.operation import Call
from infrastructure.web.reply import Reply

_log = logging.getLogger("postledger.web")
_MOST = 8 << 20  # bytes; SendGrid's batches reach some 768 KB, a bounce may quote a whole message
_LATER = (b"retry-after", b"5")
_BASIC = (b"www-authenticate", b'Basic realm="postledger"')  # SNS sends a URL's credentials only when asked to


async def receive(call: Call) -> Reply:
    """Verify, keep, acknowledge; what it means is found out later."""
    provider = call.path("provider")
    known = provider in call.service.hooks.providers
    outcome = await _outcome(call, provider)
    call.service.metrics.hook(provider if known else "unknown", outcome)
    if outcome in ("stored", "duplicate"):
        return Reply(200, b'{"status":"kept"}')
    if outcome == "unavailable":
        return Reply(503, b'{"status":"try again later"}', _LATER)
    return Reply(401, b'{"status":"not verified"}', _BASIC)


async def _outcome(call: Call, provider: str) -> str:
    try:
        body = await whole(call, _MOST)
        hook = Hook(headers=_headers(call), body=body, received_at=call.service.clock())
        return "stored" if await call.service.hooks(provider, hook) else "duplicate"
    except Untrusted as error:
        return error.reason
    except BodyTooLarge:
        return "oversized"
    except (StoreUnavailable, VerificationUnavailable):
        return "unavailable"
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        # A verifier that stumbles over what it was sent has not verified it.
        log_surprise(_log, f"verifying a delivery of {provider if provider.isidentifier() else 'a provider'}", error)
        return "malformed"


def _headers(call: Call) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in call.headers.items()}
