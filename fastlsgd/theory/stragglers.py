"""How long a round lasts when steps take random times: every round waits for its slowest worker."""

from __future__ import annotations

import numpy as np

from .. import arguments


def expected_max_normal(n_workers: int) -> float:
    """Return the mean of the largest of n_workers independent standard normal variables.

    The integral of 1 - Phi^P over x > 0, less that of Phi^P over x < 0 (textbook).

    Parameters
    ----------
    n_workers : int
        P.

    Examples
    --------
    >>> round(expected_max_normal(2), 4), round(expected_max_normal(16), 4)
    (0.5642, 1.766)
    """
    from scipy import integrate, special

    P = arguments.whole("n_workers", n_workers)
    # 1 - Phi^P as it stands is rounding where Phi is within 1 / P of 1, which is where it counts for many workers.
    above = integrate.quad(
        lambda x: -np.expm1(P * special.log_ndtr(x)), 0.0, 40.0, limit=500, epsabs=1e-13, epsrel=1e-12
    )[0]
    below = integrate.quad(lambda x: np.exp(P * special.log_ndtr(x)), -40.0, 0.0, epsabs=1e-13)[0]
    return float(above - below)


def round_time(
    period: int, n_workers: int, step_s: float, jitter_s: float = 0.0, communication_s: float = 0.0
) -> float:
    """Return the seconds of a round whose steps take independent times, of mean step_s and deviation jitter_s.

    N step_s + sqrt(N) jitter_s e_P + communication_s with e_P of ``expected_max_normal``: the central limit theorem,
    so for periods of four steps or more. Persistent differences between workers are another matter: they grow with N.
    (Derived for this package.)

    Parameters
    ----------
    period, n_workers : int
        N and P.
    step_s, jitter_s, communication_s : float
        Seconds of a step, mean and standard deviation; of an averaging.

    Raises
    ------
    TypeError, ValueError
        No int >= 1, no number >= 0.

    Examples
    --------
    >>> round(round_time(64, 16, 1e-4, 1e-5), 6)
    0.006541
    """
    N, step_s = arguments.whole("period", period), arguments.number("step_s", step_s, least=0.0)
    jitter_s = arguments.number("jitter_s", jitter_s, least=0.0)
    communication_s = arguments.number("communication_s", communication_s, least=0.0)
    return N * step_s + N**0.5 * jitter_s * expected_max_normal(n_workers) + communication_s


def exponential_round_time(period: int, n_workers: int, step_s: float) -> float:
    """Return the same exactly for exponential step times: step_s times the mean of the largest of P Gamma(N).

    Of one step it is step_s (1 + 1/2 + .. + 1/P) (textbook).

    Parameters
    ----------
    period, n_workers : int
        N and P.
    step_s : float
        Mean seconds of a step.

    Raises
    ------
    TypeError, ValueError
        No int >= 1, no number >= 0.

    Examples
    --------
    >>> round(exponential_round_time(1, 16, 1.0), 4)  # the harmonic number of 16
    3.3807
    """
    from scipy import integrate, special

    N, P = arguments.whole("period", period), arguments.whole("n_workers", n_workers)
    step_s = arguments.number("step_s", step_s, least=0.0)
    far = N + 60.0 * N**0.5 + 60.0
    # 1 - F^P by way of 1 - F: for the same reason as above.
    inside = integrate.quad(
        lambda x: -np.expm1(special.xlog1py(P, -special.gammaincc(N, x))), 0.0, far, limit=500, points=[N],
        epsrel=1e-10,
    )  # fmt: skip
    return step_s * float(inside[0])
