"""Local SGD as it is written in JAX: vmap over workers, scan over steps and rounds, one compiled call.

P = 2, period 256; compiled before the clock, rows on its device before the clock, dot products written as sums of
products (on CPUs sooner than its matrix product of one row).
"""

import numpy as np

NEEDS = "jax"
SAME_ARITHMETIC = True
P, PERIOD = 2, 256


def prepare(problem):
    import jax
    import jax.numpy as jnp

    from fastlsgd.benchmarks.problems import step as step_of

    eta, l2 = np.float32(step_of(problem).eta), np.float32(problem.l2)
    n_rounds = problem.n_samples // P // PERIOD
    shape = (P, n_rounds, PERIOD)
    rows = P * n_rounds * PERIOD
    X = jnp.asarray(problem.X[:rows].reshape(*shape, -1).swapaxes(0, 1))  # (rounds, workers, steps, features)
    y = jnp.asarray(problem.y[:rows].reshape(shape).swapaxes(0, 1))

    def step(carry, row):
        w, total = carry
        x, label = row
        slope = -label / (1 + jnp.exp(label * jnp.sum(x * w)))
        w = w - eta * (slope * x + l2 * w)
        return (w, total + w), None

    def a_round(carry, rows):
        w, total = carry
        local = jax.vmap(lambda total, X, y: jax.lax.scan(step, (w, total), (X, y))[0])
        W, total = local(total, *rows)
        return (W.mean(axis=0), total), None

    @jax.jit
    def run(X, y):
        start = jnp.zeros(problem.n_params), jnp.zeros((P, problem.n_params))
        (_, total), _ = jax.lax.scan(a_round, start, (X, y))
        return total.mean(axis=0) / (n_rounds * PERIOD)

    compiled = run.lower(X, y).compile()

    def fit():
        return np.asarray(compiled(X, y).block_until_ready())

    fit.n_gradients = rows
    return fit
