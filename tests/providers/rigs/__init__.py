"""One rig per provider, for the contract suite."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from tests.providers.contract import Rig
from tests.providers.rigs.mailgun import mailgun
from tests.providers.rigs.postmark import postmark
from tests.providers.rigs.resend import resend
from tests.providers.rigs.sendgrid import sendgrid
from tests.providers.rigs.ses import ses
from tests.providers.rigs.smtp import smtp

RIGS: Mapping[str, Callable[[], AbstractAsyncContextManager[Rig]]] = {
    "mailgun": mailgun,
    "postmark": postmark,
    "resend": resend,
    "sendgrid": sendgrid,
    "ses": ses,
    "smtp": smtp,
}
