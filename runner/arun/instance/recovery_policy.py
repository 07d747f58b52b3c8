"""When a fallback tries its primary again, as pure values: what the options say, the brake, and what is known of it so far."""

from __future__ import annotations

from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.settings import Settings

__all__ = ("GOOD", "SOON", "Brake", "RecoverPolicy", "RecoveryState")

#: Seconds that a primary has to serve until the failures before count no more.
GOOD = 180.0
#: Seconds between the beginning of a fallback and its first try, so that its first clients are served before.
SOON = 0.25


class RecoverPolicy(Value):
    """What the options ``recover``, ``recover-interval``, ``recover-interval-max`` and ``recover-probe`` say; times in seconds."""

    ways: tuple[str, ...] = ("watch", "every", "cause", "signal")
    interval: float = 2.0
    interval_max: float = 60.0
    probe: str = "full"

    def given_by(self, settings: Settings) -> RecoverPolicy:
        """Return it with what the settings give."""
        policy = self
        if settings.given("recover"):
            policy = policy._replace(ways=() if "none" in settings.recover else settings.recover)
        if settings.given("recover-interval"):
            policy = policy._replace(interval=settings.recover_interval)
        if settings.given("recover-interval-max"):
            policy = policy._replace(interval_max=settings.recover_interval_max)
        if settings.given("recover-probe"):
            policy = policy._replace(probe=settings.recover_probe)
        return policy

    @property
    def is_automatic(self) -> bool:
        """Whether anything but SIGHUP leads to a try."""
        return bool({"watch", "every", "cause"}.intersection(self.ways))

    def described(self) -> str:
        """Return in words when the primary is tried, for the log."""
        words = {
            "watch": "when a file that it read changes",
            "cause": "when the cause is over",
            "every": f"every {self.interval:g} to {max(self.interval, self.interval_max):g} s",
        }
        return ", ".join([*(text for way, text in words.items() if way in self.ways), "on SIGHUP"])

    def wait(self, failed: int) -> float:
        """Return the seconds to wait after so many tries that failed one after another, without jitter."""
        return min(self.interval * 2.0 ** min(failed, 32), max(self.interval, self.interval_max))


class Brake(Value):
    """How often in a row the primary failed though its probe had succeeded; it crosses each exec.

    ``is_return``: this start is a return from a fallback, after a probe that succeeded.
    """

    failed: int = 0
    is_return: bool = False

    def after_failure(self, *, served: float, has_served: bool) -> Brake:
        """Return the brake of the fallback for a start that has failed after it ``served`` for so many seconds."""
        if not self.is_return or served >= GOOD:
            return Brake(int(has_served))  # workers that die again and again: no probe sees that
        return Brake(self.failed + 1)

    def returning(self) -> Brake:
        """Return the brake of the primary that is returned to."""
        return self._replace(is_return=True)

    def first_try(self, policy: RecoverPolicy) -> float:
        """Return in how many seconds a fallback that begins to serve tries its primary by itself, and not before."""
        return max(SOON, policy.wait(self.failed - 1) if self.failed else 0.0)


class RecoveryState(Value):
    """What is known of the way back: when it is tried next by the clock, and how often it was tried.

    ``next_try`` is in seconds of the epoch, None where no time is set. ``is_trying``: a probe runs.
    """

    next_try: float | None = None
    attempts: int = 0
    is_trying: bool = False
