"""A real Postfix of our own: on loopback, on free ports, with everything it writes in one directory.

It takes mail for these, and for nobody else in the world:

* `ada@example.test`, `bounces@bounces.example.test` and `hooked@bounces.example.test` have mailboxes.
* `forwarded@example.test` goes on to an address that does not exist. Others at example.test are refused at once.
* Anybody at `away.test` is taken in and passed on to a second server, which refuses every one: `REMOTE` has its words.

What follows a + in an address makes no difference.

It needs root, for Postfix runs as users of its own.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from pwd import getpwnam

from tests.service import free_port, until

REMOTE: Mapping[str, str] = {
    "gone": "550 5.1.1 No such user here",
    "full": "552 5.2.2 The mailbox is full",
    "closed": "554 5.7.1 Not in line with our policy",
    "jörg": "550 5.1.1 No such user here",
    "busy": "450 4.2.1 The mailbox takes too much mail at the moment",
}
_MAILBOX_OWNER = 65534  # nobody; Postfix delivers to no mailbox as root
_PATIENCE = 20.0  # seconds
_POSTFIX, _MASTER_PROGRAM = "/usr/sbin/postfix", "/usr/lib/postfix/sbin/master"  # as Debian has them

_MAIN = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/log
maillog_file_prefixes = {home}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mta.example.test
mydestination =
alias_maps =
alias_database =
mynetworks = 127.0.0.1/32
smtpd_peername_lookup = no
smtpd_recipient_restrictions = reject_unlisted_recipient, reject_unauth_destination
recipient_delimiter = +

virtual_mailbox_domains = example.test, bounces.example.test
virtual_mailbox_base = {home}/mail
virtual_mailbox_maps = inline:{{
  ada@example.test=ada/, bounces@bounces.example.test=bounces/, hooked@bounces.example.test=hooked/ }}
virtual_alias_maps = inline:{{ forwarded@example.test=nobody@example.test }}
virtual_uid_maps = static:{owner}
virtual_gid_maps = static:{owner}

relay_domains = away.test
fast_flush_domains =
relay_transport = smtp:[127.0.0.1]:{remote_port}
default_transport = error:5.1.2 No mail leaves this machine
smtp_dns_support_level = disabled
smtp_host_lookup = native
remote_restrictions = check_recipient_access inline:{{ {remote} }}, reject

minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
delay_warning_time = 1s
maximal_queue_lifetime = 4s
bounce_queue_lifetime = 4s
"""
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
127.0.0.1:{remote_port} inet n - n - - smtpd
  -o myhostname=mx.away.test
  -o smtpd_recipient_restrictions=$remote_restrictions
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """Where it listens, and what it put into whose mailbox."""

    def __init__(self, home: Path, port: int) -> None:
        self.port = port
        self._home = home

    def mailbox(self, user: str) -> Path:
        """A Maildir; it comes into being with the first mail."""
        return self._home / "mail" / user

    def mails(self, user: str) -> list[bytes]:
        """What is in a mailbox, whether read or not."""
        found: dict[str, bytes] = {}
        for path in (path for place in ("new", "cur") for path in (self.mailbox(user) / place).glob("*")):
            with suppress(FileNotFoundError):  # somebody has read it since, and moved it to `cur`
                found[path.name.partition(":")[0]] = path.read_bytes()
        return list(found.values())

    def accepts_connections(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), _PATIENCE).close()
        except OSError:
            return False
        return True

    @property
    def log(self) -> str:
        path = self._home / "log"
        return path.read_text() if path.exists() else "(nothing)"


@contextmanager
def running() -> Iterator[Postfix]:
    """Postfix until the end of the block, and nothing of it afterwards."""
    assert os.geteuid() == 0, "Postfix needs root: it runs as users of its own"
    home = Path(tempfile.mkdtemp(prefix="postfix-"))  # not pytest's, through which its owner alone can walk
    try:
        postfix = _set_up(home)
        checked = subprocess.run([_POSTFIX, "-c", home / "etc", "check"], check=False, timeout=_PATIENCE)
        assert checked.returncode == 0, postfix.log  # and it has made the directories of the queue
        with subprocess.Popen([_MASTER_PROGRAM, "-c", home / "etc"], stdin=subprocess.DEVNULL) as master:
            try:
                until(lambda: postfix.accepts_connections() or master.poll() is not None)
                assert master.poll() is None, postfix.log
                yield postfix
            finally:
                master.terminate()  # it ends its own processes
                master.wait(_PATIENCE)
    finally:
        shutil.rmtree(home, ignore_errors=True)  # one of its processes may be writing its last words


def _set_up(home: Path) -> Postfix:
    port, remote_port = free_port(), free_port()
    remote = ", ".join(f"{{ {user}@away.test = {words} }}" for user, words in REMOTE.items())
    values = {"home": home, "port": port, "remote_port": remote_port, "owner": _MAILBOX_OWNER, "remote": remote}
    home.chmod(0o755)
    for name, owner in {"etc": 0, "queue": 0, "data": getpwnam("postfix").pw_uid, "mail": _MAILBOX_OWNER}.items():
        (home / name).mkdir()
        (home / name).chmod(0o755)
        os.chown(home / name, owner, -1)
    (home / "etc" / "main.cf").write_text(_MAIN.format_map(values))
    (home / "etc" / "master.cf").write_text(_MASTER.format_map(values))
    return Postfix(home, port)
