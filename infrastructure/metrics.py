"""What this process has counted, for Prometheus. Labels are configured names and words of ours, never a person's."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The counters, in a registry of their own: two services in one process do not share them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._hooks = Counter(
            "postledger_hooks",
            "Deliveries at /hooks, by what became of them: stored, duplicate, or why they were refused.",
            ("provider", "outcome"),
            registry=self._registry,
        )
        self._feedback = Counter(
            "postledger_feedback",
            "Statements of providers, by kind, and whether they were recorded or no email was found for them.",
            ("provider", "kind", "outcome"),
            registry=self._registry,
        )
        self._sends = Counter(
            "postledger_sends",
            "Send calls to providers, by what came of them: accepted, partial, refused, raised, or the error class.",
            ("provider", "outcome"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "postledger_send_seconds",
            "How long send calls to providers took.",
            ("provider",),
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._unread = Counter(
            "postledger_gauges_unread",
            "Times that the gauges were left out of an answer because the database did not give them, by error.",
            ("error",),
            registry=self._registry,
        )

    def hook(self, provider: str, outcome: str) -> None:
        """A delivery came to /hooks. A provider that is not configured is called `unknown`."""
        self._hooks.labels(provider, outcome).inc()

    def feedback(self, provider: str, kind: str, outcome: str) -> None:
        """A statement was translated."""
        self._feedback.labels(provider, kind, outcome).inc()

    def send(self, provider: str, outcome: str, seconds: float) -> None:
        """A provider was called."""
        self._sends.labels(provider, outcome).inc()
        self._seconds.labels(provider).observe(seconds)

    def unread(self, error: str) -> None:
        """The gauges could not be read. `error` is the name of a class."""
        self._unread.labels(error).inc()

    def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self._registry)
