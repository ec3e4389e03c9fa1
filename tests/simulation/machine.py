"""What may happen to the simulated world, in any order."""

from datetime import timedelta
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.delivery import DeliveryPolicy
from domain.events import Priority, Resolution
from tests.samples import stamp
from tests.simulation.providers import MODES
from tests.simulation.setting import PROVIDERS
from tests.simulation.world import World

providers = st.sampled_from(PROVIDERS)
tenants = st.sampled_from(("acme", "globex", "initech"))
priorities = st.sampled_from(tuple(Priority))
numbers = st.integers(0, 1_000)
spans = st.sampled_from((0.05, 0.5, 3.0, 15.0, 25.0, 70.0, 400.0, 1_200.0))
policies = st.builds(
    DeliveryPolicy,
    in_doubt=st.sampled_from(("at_least_once", "at_most_once")),
    max_attempts=st.sampled_from((1, 2, 4, 12)),
    give_up_after=st.sampled_from((timedelta(minutes=30), timedelta(hours=6), timedelta(days=2))),
    settle_after=st.sampled_from((timedelta(seconds=30), timedelta(minutes=15))),
    first_retry=st.sampled_from((timedelta(seconds=5), timedelta(minutes=1))),
    longest_retry=st.sampled_from((timedelta(minutes=2), timedelta(hours=1))),
)
seconds_ahead = st.none() | st.sampled_from((1, 60, 1_800, 50_000))


class Turmoil(RuleBasedStateMachine):
    """Emails, workers, providers, the database, clocks and operators, all at once."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.world.chance.seed(seed)

    # -- mail ----------------------------------------------------------------------------------------------------

    @rule(
        tenant=tenants,
        priority=priorities,
        policy=policies,
        people=st.integers(1, 2),
        send=seconds_ahead,
        expires=seconds_ahead,
    )
    def accept(
        self,
        tenant: str,
        priority: Priority,
        policy: DeliveryPolicy,
        people: int,
        send: int | None,
        expires: int | None,
    ) -> None:
        now = self.world.clock()
        send_at = now + timedelta(seconds=send) if send else None
        expires_at = (send_at or now) + timedelta(seconds=expires) if expires else None
        times = {"send_at": send_at, "expires_at": expires_at}
        self.world.accept(tenant, priority, 1, people=people, policy=policy, **times)

    @rule(
        tenant=tenants,
        priority=priorities,
        policy=policies,
        count=st.sampled_from((3, 12)),
        domain=st.sampled_from(("example.com", "slow.example")),
    )
    def flood(self, tenant: str, priority: Priority, policy: DeliveryPolicy, count: int, domain: str) -> None:
        self.world.accept(tenant, priority, count, policy=policy, domain=domain)

    # -- operators and clients -----------------------------------------------------------------------------------

    def _email(self, number: int) -> UUID:
        return self.world.emails[number % len(self.world.emails)]

    @precondition(lambda self: self.world.emails)
    @rule(number=numbers)
    def cancel(self, number: int) -> None:
        self.world.operate(self._email(number), lambda email: email.cancel(stamp(self.world.clock())))

    @precondition(lambda self: self.world.emails)
    @rule(number=numbers, seconds=st.sampled_from((1, 300, 20_000)))
    def reschedule(self, number: int, seconds: int) -> None:
        now = self.world.clock()
        at = now + timedelta(seconds=seconds)
        self.world.operate(self._email(number), lambda email: email.reschedule(at, stamp(now)))

    @precondition(lambda self: self.world.emails)
    @rule(number=numbers, provider=st.none() | providers, priority=st.none() | priorities)
    def requeue(self, number: int, provider: str | None, priority: Priority | None) -> None:
        now = stamp(self.world.clock())
        self.world.operate(self._email(number), lambda email: email.requeue("mended", now, priority, provider))

    @precondition(lambda self: self.world.emails)
    @rule(number=numbers, resolution=st.sampled_from((Resolution.NOT_ACCEPTED, Resolution.PRESUMED_LOST)))
    def resolve(self, number: int, resolution: Resolution) -> None:
        now = stamp(self.world.clock())
        self.world.operate(self._email(number), lambda email: email.resolve(resolution, "seen in its log", now))

    @rule(provider=providers)
    def pause(self, provider: str) -> None:
        self.world.pause(provider)

    @rule(provider=providers)
    def resume(self, provider: str) -> None:
        self.world.resume(provider)

    # -- providers -----------------------------------------------------------------------------------------------

    @rule(provider=providers, mode=st.sampled_from(tuple(MODES)), evidence=st.booleans())
    def provider_changes(self, provider: str, mode: str, evidence: bool) -> None:
        self.world.providers[provider].mode = mode
        self.world.providers[provider].evidence = evidence

    # -- workers -------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.world.workers) < 3)
    @rule()
    def start_worker(self) -> None:
        self.world.start_worker()

    @precondition(lambda self: self.world.workers)
    @rule(number=numbers)
    def kill_worker(self, number: int) -> None:
        self.world.kill_worker(number % len(self.world.workers))

    @precondition(lambda self: self.world.workers)
    @rule(number=numbers)
    def let_worker_leave(self, number: int) -> None:
        self.world.let_leave(number % len(self.world.workers))

    @precondition(lambda self: self.world.workers)
    @rule(number=numbers)
    def stop_worker(self, number: int) -> None:
        self.world.stop_worker(number % len(self.world.workers))

    @precondition(lambda self: self.world.workers)
    @rule(number=numbers)
    def resume_worker(self, number: int) -> None:
        self.world.workers[number % len(self.world.workers)].resume()

    # -- the database, the read model, the clock -----------------------------------------------------------------

    @rule(seconds=st.sampled_from((0.2, 3.0, 60.0)), only_answers=st.booleans())
    def storm(self, seconds: float, only_answers: bool) -> None:
        self.world.storm(seconds, only_answers=only_answers)

    @rule(lag=st.sampled_from((0.5, 30.0)))
    def read_model_lags(self, lag: float) -> None:
        self.world.let_lag(lag)

    @rule(by=st.sampled_from((-0.9, -0.1, 0.5, 30.0, 4_000.0)))
    def clock_jumps(self, by: float) -> None:
        self.world.turn_clock(timedelta(seconds=by))

    @rule(seconds=spans)
    def time_passes(self, seconds: float) -> None:
        self.world.wait(seconds)

    # -- what must hold ------------------------------------------------------------------------------------------

    @invariant()
    def the_laws_hold(self) -> None:
        self.world.laws.check()

    def teardown(self) -> None:
        try:
            self.world.laws.check()
            self.world.heal()
            self.world.finish()
        finally:
            self.world.end()
