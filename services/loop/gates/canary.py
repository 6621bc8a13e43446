"""May the canary take all the traffic?"""

from dataclasses import dataclass

from services.loop.gates import Verdict


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a version answered since the canary began."""

    requests: int
    errors: int

    @property
    def error_rate(self) -> float:
        """Errors a request; 0 without requests."""
        return self.errors / self.requests if self.requests else 0.0


def judge(
    canary: Traffic,
    champion: Traffic,
    *,
    age_seconds: float,
    min_seconds: float,
    max_seconds: float,
    min_requests: int,
    error_margin: float,
) -> Verdict:
    """Fail as soon as the canary errs more than the champion plus `error_margin` over `min_requests`; pass when it has
    lived `min_seconds` and answered `min_requests`; fail when it got too few requests in `max_seconds`.
    """
    facts = {
        "requests": float(canary.requests),
        "error_rate": canary.error_rate,
        "champion_error_rate": champion.error_rate,
        "seconds": round(age_seconds, 3),
    }
    enough = canary.requests >= min_requests
    words = (
        f"the canary answered {canary.requests} requests in {age_seconds:.0f} s, {canary.error_rate:.2%} of them errors"
    )
    if enough and canary.error_rate > champion.error_rate + error_margin:
        return Verdict(False, f"{words}; the champion's rate is {champion.error_rate:.2%}: worse", facts)
    if enough and age_seconds >= min_seconds:
        return Verdict(True, f"{words}; the champion's rate is {champion.error_rate:.2%}: as good", facts)
    if age_seconds > max_seconds:
        return Verdict(False, f"{words}: too few to judge by within {max_seconds:.0f} s", facts)
    return Verdict(None, f"{words}: waiting for {min_requests} requests and {min_seconds:.0f} s", facts)
