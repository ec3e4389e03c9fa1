"""One teller per provider, for tests of what comes back."""

from collections.abc import Mapping

from tests.providers.tellers import mailgun, postmark, resend, sendgrid, ses, smtp
from tests.providers.tellers.teller import Teller

TELLERS: Mapping[str, Teller] = {
    "mailgun": mailgun.TELLER,
    "postmark": postmark.TELLER,
    "resend": resend.TELLER,
    "sendgrid": sendgrid.TELLER,
    "ses": ses.TELLER,
    "smtp": smtp.TELLER,
}
